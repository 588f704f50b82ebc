/** The whole page. */

import { useEffect, useState } from "preact/hooks";
import type { Tab } from "../state/address.ts";
import { link } from "../state/following.ts";
import { first, isPictureAlone, type Opening, second } from "../state/opening.ts";
import { redo, session, undo } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { CopyButton } from "./CopyButton.tsx";
import { keepFocus } from "./focus.ts";
import { KeyDialog } from "./KeyDialog.tsx";
import { Masks } from "./Masks.tsx";
import { Numbers } from "./Numbers.tsx";
import { Pictures } from "./Pictures.tsx";
import { Places } from "./Places.tsx";
import { Problem } from "./Problem.tsx";
import { StatePage } from "./StatePage.tsx";
import { Text } from "./Text.tsx";
import { useModels } from "./useModels.ts";

const TABS: readonly [Tab, string, string][] = [
  ["masks", "Masks", "SAM2"],
  ["text", "Text", "CLIP"],
  ["places", "Similar places", "DINO"],
  ["state", "Server", ""],
];
const NO_WORDS = ["radio", "range", "file"];

/** Whether words are written there. */
function isField(target: EventTarget | null): boolean {
  const isInput = target instanceof HTMLInputElement && !NO_WORDS.includes(target.type);
  return isInput || target instanceof HTMLTextAreaElement;
}

/** The picture that something is for that is dropped or pasted here. */
function openingAt(element: EventTarget | null): Opening {
  return element instanceof Element && element.closest("[data-second]") ? second : first;
}

export function App() {
  const { tab, picture, said, busy } = useStore(session);
  const [over, setOver] = useState<Opening | null>(null);
  useModels();
  useEffect(keepFocus, []);

  useEffect(() => {
    function pasted(event: ClipboardEvent) {
      const items = event.clipboardData;
      // Words that are pasted into a field belong there.
      if (isField(event.target) && !isPictureAlone(items)) return;
      if (openingAt(document.activeElement).from(items)) event.preventDefault();
    }
    function pressed(event: KeyboardEvent) {
      if (isField(event.target) || !(event.ctrlKey || event.metaKey)) return;
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      if (key === "y" || event.shiftKey) redo();
      else undo();
      event.preventDefault();
    }
    function dragged(event: DragEvent) {
      event.preventDefault();
      const opening = openingAt(event.target);
      setOver(event.type === "dragover" ? opening : null);
      if (event.type === "drop") opening.from(event.dataTransfer);
    }
    const end = new AbortController();
    const { signal } = end;
    document.addEventListener("paste", pasted, { signal });
    document.addEventListener("keydown", pressed, { signal });
    for (const type of ["dragover", "dragleave", "drop"] as const) {
      document.addEventListener(type, dragged, { signal });
    }
    return () => end.abort();
  }, []);

  return (
    <div class={over ? `page over-${over.place}` : "page"}>
      <header>
        <h1>featsvc</h1>
        <nav aria-label="What to look at">
          {TABS.map(([name, title, model]) => (
            <button
              type="button"
              key={name}
              aria-current={tab === name ? "page" : undefined}
              onClick={() => session.set({ tab: name })}
            >
              {title} {model && <small>{model}</small>}
            </button>
          ))}
        </nav>
        <span class={busy ? "busy on" : "busy"} aria-hidden="true" />
        <CopyButton label="Copy link" place="page" class="quiet" text={link} />
        <button type="button" class="quiet" onClick={() => session.set({ keyWanted: "" })}>
          Key
        </button>
      </header>
      <main>
        <Problem place="page" />
        {tab === "state" ? (
          <StatePage />
        ) : (
          <>
            <section class={picture ? "pictures" : "pictures first"} aria-label="Pictures">
              {!picture && (
                <p class="welcome">
                  Open a picture, drop one here, or paste it or its address. Then click on a thing in it.
                  <br />
                  It goes to your server, and nowhere else.
                </p>
              )}
              <Pictures opening={first} picture={picture} name="picture" retry={() => first.again()} />
            </section>
            <Problem place="picture" />
            {picture && (
              <div class="work">
                {tab === "masks" && <Masks picture={picture} key={picture} />}
                {tab === "text" && <Text picture={picture} key={picture} />}
                {tab === "places" && <Places picture={picture} key={picture} />}
              </div>
            )}
          </>
        )}
      </main>
      <Numbers />
      <div class="hidden" role="status" aria-live="polite">
        {said}
      </div>
      <KeyDialog />
    </div>
  );
}
