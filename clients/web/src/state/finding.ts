/** Masks that the server finds by itself: of everything, or of what texts name. A click keeps one as an object. */

import type { Asked, AutoMasks, FoundObjects } from "../api/bodies.ts";
import { askJson } from "../api/pictures.ts";
import type { Asking } from "../api/server.ts";
import type { Rle } from "../compute/rle.ts";
import { withKept } from "./drawing.ts";
import { BRIEF, leave } from "./masks.ts";
import { named, naming, onChoice } from "./models.ts";
import type { Picture } from "./picture.ts";
import { attempt, counted, draw, hasKey, say, session } from "./session.ts";
import { Store } from "./store.ts";
import { texts } from "./texts.ts";

export type Preset = "coarse" | "fine_grained";

export interface Region {
  rle: Rle;
  score: number;
  /** Index of the text that it fits; null of everything. */
  text: number | null;
}

/** What was asked, and what was found. */
export type Found = { regions: readonly Region[]; texts: readonly string[] } & (
  | { path: "/sam2/auto_mask"; asked: Asked<"/sam2/auto_mask"> }
  | { path: "/sam2/find_objects"; asked: Asked<"/sam2/find_objects"> }
);

interface Finding {
  found: Found | null;
  /** The index of the region that is pointed at. */
  highlighted: number | null;
}

export const finding = new Store<Finding>({ found: null, highlighted: null });

/** The newest question; given up where another is asked, or nobody wants its answer any more. */
let newest = { place: "", ending: new AbortController() };

export function forget(): void {
  newest.ending.abort();
  finding.set({ found: null, highlighted: null });
}

export function highlight(index: number | null): void {
  if (index !== finding.now.highlighted) finding.set({ highlighted: index });
}

/** Takes a region into the drawing, under the text that it fits. */
export function keep({ rle, score, text }: Region): void {
  const name = text === null ? undefined : finding.now.found?.texts[text];
  draw(withKept(session.now.drawing.now, rle, score, name));
  say(name ? `${name} kept` : `${session.now.drawing.now.things.length} objects kept`);
}

/** Asks for the masks of everything. */
export async function findEverything(preset: Preset): Promise<void> {
  const asked = { ...naming("sam2"), preset, mask_encoding: BRIEF.mask_encoding };
  await find("everything", async ({ blob }, asking) => {
    const { masks } = counted(await askJson<AutoMasks>("/sam2/auto_mask", blob, asked, asking));
    const regions = masks.map((each) => ({ rle: rleOf(each), score: each.predicted_iou, text: null }));
    return { path: "/sam2/auto_mask", asked, texts: [], regions };
  });
}

/** Asks for the objects that the texts name, so many for each: SAM2 looks where CLIP's features are most like them. */
export async function findNamed(most: number): Promise<void> {
  const names = texts.now.texts;
  const asked: Asked<"/sam2/find_objects"> = {
    ...naming("sam2"),
    text: [...names],
    search: "peaks",
    max_matches: most,
    describe: [{ clip: { ...named("clip"), params: { load_size: texts.now.size } }, pooled: {} }],
    mask_encoding: BRIEF.mask_encoding,
  };
  await find("named", async ({ blob }, asking) => {
    const { objects, found } = counted(
      await askJson<FoundObjects>("/sam2/find_objects", blob, asked, asking),
    );
    const regions = found.flatMap(({ matches }, text) =>
      matches.map(({ object, score }) => ({ rle: rleOf(objects[object]!), score, text })),
    );
    return { path: "/sam2/find_objects", asked, texts: names, regions };
  });
}

async function find(place: string, ask: (picture: Picture, asking: Asking) => Promise<Found>): Promise<void> {
  const { picture } = session.now;
  if (!picture) return;
  leave();
  newest.ending.abort();
  newest = { place, ending: new AbortController() };
  const { signal } = newest.ending;
  const act = async () => {
    await hasKey();
    signal.throwIfAborted();
    const found = await ask(picture, { key: session.now.key, signal });
    signal.throwIfAborted();
    finding.set({ found, highlighted: null });
    say(`${found.regions.length} masks found`);
  };
  await attempt(place, act, () => !signal.aborted);
}

function rleOf({ segmentation }: { segmentation?: unknown }): Rle {
  // By `mask_encoding` it is no other form.
  return segmentation as Rle;
}

onChoice("sam2", forget);
onChoice("clip", () => {
  if (newest.place === "named") forget();
});
