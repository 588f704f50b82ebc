/** Masks: what the server answers about the objects that are drawn, each question asked once. */

import type { Asked, PromptMasks } from "../api/bodies.ts";
import { askJson } from "../api/pictures.ts";
import type { Answer } from "../api/server.ts";
import { floats } from "../compute/floats.ts";
import { type Bitmap, bitmap, type Rle } from "../compute/rle.ts";
import { activeOf, isBlank, type Thing } from "./drawing.ts";
import { naming, onChoice } from "./models.ts";
import { Newest } from "./newest.ts";
import type { Picture } from "./picture.ts";
import { attempt, counted, hasKey, say, session, setError } from "./session.ts";
import { Store } from "./store.ts";

/** The masks that a question has, and how good the model takes each to be. */
export interface Candidates {
  masks: readonly Rle[];
  scores: readonly number[];
}

interface Masks {
  /** Counts answers: what is drawn is to be drawn anew. */
  answered: number;
  /** The mask under the pointer, before anything is clicked. */
  preview: Rle | null;
  /** From the newest pointer that was followed to its mask, in milliseconds. */
  previewAgeMs: number | null;
}

export const masks = new Store<Masks>({
  answered: 0,
  preview: null,
  previewAgeMs: null,
});

const answers = new WeakMap<Picture, Map<string, Candidates>>();
const asked = new Map<string, Newest<Thing>>();
const last = new WeakMap<Picture, Map<number, Rle>>();

/** The options of every question about masks: run lengths are hundreds of bytes where pixels are megabytes. */
export const BRIEF = { mask_encoding: "coco_rle", return_low_res: false } as const;

/** What is asked about an object: one prompt alone may mean several things, and has three answers. */
export function question({ points, box }: Pick<Thing, "points" | "box">): Asked<"/sam2/prompt_mask"> {
  return {
    ...naming("sam2"),
    ...(points.length > 0 && {
      point_coords: points.map(({ x, y }): [number, number] => [x, y]),
      point_labels: points.map(({ label }) => label),
    }),
    ...(box && { box: [...box] }),
    multimask_output: points.length + (box ? 1 : 0) === 1,
    ...BRIEF,
  };
}

interface Table<Key, Value> {
  get(key: Key): Value | undefined;
  set(key: Key, value: Value): unknown;
}

/** What is there under the key; made where there is nothing yet. */
function entry<Key, Value>(table: Table<Key, Value>, key: Key, make: () => Value): Value {
  const there = table.get(key);
  if (there !== undefined) return there;
  const made = make();
  table.set(key, made);
  return made;
}

async function predicted({ blob }: Picture, about: Asked<"/sam2/prompt_mask">): Promise<Candidates> {
  const answer = await askJson<PromptMasks>("/sam2/prompt_mask", blob, about, { key: session.now.key });
  const { masks: found, iou_predictions } = counted(answer);
  return { masks: found as unknown as Rle[], scores: [...floats(iou_predictions)] };
}

function known(picture: Picture): Map<string, Candidates> {
  return entry(answers, picture, () => new Map());
}

/** What was answered about the object as it is now. */
export function candidatesOf(picture: Picture, thing: Thing): Candidates | undefined {
  return known(picture).get(JSON.stringify(question(thing)));
}

/** The index of the candidate that is shown: the one that was chosen, or the best. */
export function shownIndex({ scores }: Candidates, { choice }: Thing): number {
  return choice !== null && choice < scores.length ? choice : scores.indexOf(Math.max(...scores));
}

/** The mask of an object; while the server thinks about it, the one that it had before. */
export function maskOf(picture: Picture, thing: Thing): { rle: Rle; score: number | null } | null {
  if (thing.kept) return thing.kept;
  if (isBlank(thing)) return null;
  const found = candidatesOf(picture, thing);
  if (!found) {
    const before = last.get(picture)?.get(thing.id);
    return before ? { rle: before, score: null } : null;
  }
  const index = shownIndex(found, thing);
  return { rle: found.masks[index]!, score: found.scores[index]! };
}

/** Tells, from then on, whether picture and model are still those of now. */
function stillThese(): () => boolean {
  const { picture } = session.now;
  const model = naming("sam2");
  return () => session.now.picture === picture && naming("sam2") === model;
}

/** Asks about all objects that have no answer yet. */
export function follow(): void {
  const { picture, drawing } = session.now;
  if (!picture) return;
  for (const thing of drawing.now.things) {
    if (thing.kept || isBlank(thing) || candidatesOf(picture, thing)) continue;
    const name = String(thing.id);
    entry(asked, name, () => new Newest(ask)).put(thing);
  }
}

async function ask(thing: Thing): Promise<void> {
  await hasKey();
  const { picture, drawing } = session.now;
  if (!picture || !drawing.now.things.some(({ id }) => id === thing.id) || candidatesOf(picture, thing))
    return;
  const act = async () => {
    const about = question(thing);
    const found = await predicted(picture, about);
    known(picture).set(JSON.stringify(about), found);
    const index = shownIndex(found, thing);
    entry(last, picture, () => new Map()).set(thing.id, found.masks[index]!);
    masks.set({ answered: masks.now.answered + 1, preview: null });
    say(`${thing.name}: a mask with score ${found.scores[index]!.toFixed(2)}`);
  };
  await attempt("masks", act, stillThese());
}

/** What was sent before the browser had read it. */
const early = new WeakMap<Blob, Promise<Answer<PromptMasks>>>();

/** Sends a file while the browser still reads it; `prepare` tells what became of that. */
export function sendEarly(file: Blob, signal: AbortSignal): void {
  const answer = hasKey().then(() => seen(file, signal));
  early.set(file, answer);
  // Of a picture that is not shown nobody wants to know.
  answer.catch(() => {});
}

/** Lets the server see the picture before the first click, which then costs the decoder alone. */
export function prepare({ blob }: Picture): void {
  const isWanted = stillThese();
  const sent = early.get(blob);
  early.delete(blob);
  const act = async () => {
    await hasKey();
    if (isWanted()) counted(await (sent ?? seen(blob)));
  };
  void attempt("picture", act, isWanted);
}

/** One mask, and no prompt: what is in the picture is not known yet, nor its size. */
function seen(file: Blob, signal?: AbortSignal): Promise<Answer<PromptMasks>> {
  const asked = { ...question({ points: [], box: null }), multimask_output: false };
  return askJson("/sam2/prompt_mask", file, asked, { key: session.now.key, signal });
}

/** While the pointer is on the picture; given up when it leaves, with what was asked for it. */
let pointing: AbortController | null = null;

const previews = new Newest<{ x: number; y: number; since: number }>(async ({ x, y, since }) => {
  const { picture, drawing, key } = session.now;
  const signal = pointing?.signal;
  if (!picture || !key || !signal || "picture" in session.now.errors) return;
  const { points, box, kept } = activeOf(drawing.now);
  const before = kept ? [] : points;
  const about = {
    ...question({ points: [...before, { x, y, label: 1 }], box: kept ? null : box }),
    multimask_output: false,
  };
  try {
    const answer = await askJson<PromptMasks>("/sam2/prompt_mask", picture.blob, about, { key, signal });
    const found = answer.body.masks as unknown as Rle[];
    if (!signal.aborted) masks.set({ preview: found[0]!, previewAgeMs: performance.now() - since });
  } catch {
    // A preview that fails is none: the click will say why.
    if (!signal.aborted) masks.set({ preview: null });
  }
});

/** Shows what a click here would give. */
export function hover(x: number, y: number): void {
  pointing ??= new AbortController();
  previews.put({ x, y, since: performance.now() });
}

export function leave(): void {
  pointing?.abort();
  pointing = null;
  previews.clear();
  if (masks.now.preview) masks.set({ preview: null });
}

/** Each object that has a mask, with its mask at full size. */
export function finished(): { thing: Thing; rle: Rle; mask: Bitmap; score: number | null }[] {
  const { picture, drawing } = session.now;
  if (!picture) return [];
  return drawing.now.things.flatMap((thing) => {
    const found = maskOf(picture, thing);
    return found ? [{ thing, rle: found.rle, mask: bitmap(found.rle), score: found.score }] : [];
  });
}

/** Asks again what was refused. */
export function again(): void {
  setError("masks", null);
  follow();
}

session.subscribe(follow);

onChoice("sam2", () => {
  // What the model before refused says nothing of this one.
  for (const place of ["picture", "masks"]) setError(place, null);
  if (session.now.picture) prepare(session.now.picture);
  follow();
});
