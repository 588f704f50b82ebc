/** Keeps the focus near where it was, for those who work by keys, when what has it goes or can do nothing any more. */

const PARTS = "section, aside, main";
const CONTROLS = "button, input, select, textarea";

/** Where something is in a list: its row, and which of the row's controls it is, counted from the last. */
interface Place {
  list: Element;
  row: number;
  fromEnd: number;
}

/** Begins to keep it; what it returns ends that. */
export function keepFocus(): () => void {
  const end = new AbortController();
  const { signal } = end;
  let focused: HTMLElement | null = null;
  let place: Place | null = null;
  let parts: HTMLElement[] = [];
  let waits = false;

  /** Looks when the browser has done what it does by itself: a dialogue that is closed gives the focus back. */
  function soon(): void {
    if (!waits) setTimeout(look);
    waits = true;
  }

  function look(): void {
    waits = false;
    const now = document.activeElement;
    if (!focused || (now !== document.body && now !== focused)) return;
    if (isUsable(focused)) {
      // The reader has left it for nothing else; another window may be looked at meanwhile.
      if (now !== focused) focused = null;
      return;
    }
    focused = null;
    const neighbour = place && inRow(place);
    if (neighbour) neighbour.focus();
    else focusPart(parts.find(isUsable) ?? document.querySelector("main"));
  }

  function taken({ target }: FocusEvent): void {
    focused = target as HTMLElement;
    place = placeOf(focused);
    parts = [];
    for (let each = partAround(focused); each; each = partAround(each)) parts.push(each);
  }

  document.addEventListener("focusin", taken, { signal });
  document.addEventListener("focusout", soon, { signal });
  const changes = new MutationObserver(soon);
  const attributeFilter = ["disabled", "hidden", "open"];
  changes.observe(document.body, { subtree: true, childList: true, attributeFilter });
  signal.addEventListener("abort", () => changes.disconnect());
  return () => end.abort();
}

function isUsable(element: Element): boolean {
  const isThere = element.isConnected && !element.matches(":disabled");
  return isThere && element.closest("[hidden], dialog:not([open])") === null;
}

function partAround(element: Element): HTMLElement | null {
  return element.parentElement?.closest<HTMLElement>(PARTS) ?? null;
}

function placeOf(element: Element): Place | null {
  const row = element.closest("li");
  const list = row?.parentElement;
  if (!row || !list) return null;
  const controls = [...row.querySelectorAll(CONTROLS)];
  return {
    list,
    row: [...list.children].indexOf(row),
    fromEnd: controls.length - controls.indexOf(element),
  };
}

/** The same control of the row that is there now, or of the last one. */
function inRow({ list, row, fromEnd }: Place): HTMLElement | null {
  const there = list.isConnected && (list.children[row] ?? list.lastElementChild);
  if (!there) return null;
  const controls = [...there.querySelectorAll<HTMLElement>(CONTROLS)].filter(isUsable);
  return controls[Math.max(0, controls.length - fromEnd)] ?? null;
}

/** From a part of the page the next Tab leads to its first control. */
function focusPart(part: HTMLElement | null): void {
  if (!part) return;
  if (!part.hasAttribute("tabindex")) part.tabIndex = -1;
  part.focus({ preventScroll: true });
}
