/** What the page knows: picture, drawing, key, and what went wrong where. */

import type { Cost } from "../api/replies.ts";
import type { About } from "../api/server.ts";
import { type Answer, about, Refusal } from "../api/server.ts";
import type { Tab } from "./address.ts";
import { type Drawing, EMPTY } from "./drawing.ts";
import { begun, done, type History, redone, undone } from "./history.ts";
import type { Picture } from "./picture.ts";
import { Store } from "./store.ts";

/** What is under the pointer: a pixel, the patch around it, and what is known of that. */
export interface Under {
  x: number;
  y: number;
  row: number;
  column: number;
  score: number | null;
  label: string;
}

export interface Session {
  about: About | null;
  key: string;
  /** Counts the keys that were given, the same one again too: what was refused is asked again. */
  keysGiven: number;
  /** Why a key is asked for; null while none is. */
  keyWanted: string | null;
  tab: Tab;
  picture: Picture | null;
  drawing: History<Drawing>;
  cost: Cost | null;
  under: Under | null;
  /** What went wrong, by the part of the page that it concerns. */
  errors: Readonly<Record<string, string>>;
  /** How many questions are under way. */
  busy: number;
  /** What a screen reader says. */
  said: string;
}

const KEY = "featsvc-key";

export const session = new Store<Session>({
  about: null,
  // Kept for the tab: gone when it is closed, and never in the address.
  key: sessionStorage.getItem(KEY) ?? "",
  keysGiven: 0,
  keyWanted: null,
  tab: "masks",
  picture: null,
  drawing: begun(EMPTY),
  cost: null,
  under: null,
  errors: {},
  busy: 0,
  said: "",
});

export async function begin(): Promise<void> {
  await attempt("page", async () => {
    const told = await about();
    session.set({ about: told, key: session.now.key || (told.documented_key ?? "") });
    if (!session.now.key) session.set({ keyWanted: "This server wants an API key." });
  });
}

/** Resolves when there is a key to ask with. */
export function hasKey(): Promise<void> {
  return new Promise((resolve) => {
    if (session.now.key) {
      resolve();
      return;
    }
    const end = session.subscribe(() => {
      if (!session.now.key) return;
      end();
      resolve();
    });
  });
}

/** Whether a header can carry the key. */
export function isSendable(key: string): boolean {
  return /^[ -~]+$/.test(key);
}

export function setKey(key: string): void {
  sessionStorage.setItem(KEY, key);
  session.set({ key, keysGiven: session.now.keysGiven + 1, keyWanted: null, errors: {} });
}

export function setUnder(under: Under | null): void {
  session.set({ under });
}

export function say(said: string): void {
  session.set({ said });
}

export function setError(place: string, words: string | null): void {
  const { [place]: _, ...others } = session.now.errors;
  session.set({ errors: words === null ? others : { ...others, [place]: words } });
}

/**
 * Does something that may be refused; the words of the refusal stand at `place`, and nothing else changes. What is
 * not wanted any more when it ends, since another picture or model was taken meanwhile, says nothing.
 */
export async function attempt(
  place: string,
  act: () => Promise<void>,
  isWanted: () => boolean = () => true,
): Promise<boolean> {
  session.set({ busy: session.now.busy + 1 });
  try {
    await act();
    if (isWanted() && place in session.now.errors) setError(place, null);
    return true;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return false;
    if (!isWanted()) return false;
    const words = error instanceof Error ? error.message : String(error);
    if (error instanceof Refusal && error.status === 401) session.set({ keyWanted: words });
    setError(place, words);
    if (!(error instanceof Refusal) && !(error instanceof Error)) throw error;
    return false;
  } finally {
    session.set({ busy: session.now.busy - 1 });
  }
}

/** The body of an answer, whose cost is shown. */
export function counted<Body>({ body, cost }: Answer<Body>): Body {
  session.set({ cost });
  return body;
}

export function draw(next: Drawing): void {
  session.set({ drawing: done(session.now.drawing, next) });
}

export function undo(): void {
  session.set({ drawing: undone(session.now.drawing) });
}

export function redo(): void {
  session.set({ drawing: redone(session.now.drawing) });
}
