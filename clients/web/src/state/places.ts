/** Similar places: what of DINO is shown, and of which place. */

import type { Asked } from "../api/bodies.ts";
import { naming } from "./models.ts";
import type { Picture } from "./picture.ts";
import { Store } from "./store.ts";

export type Facet = "token" | "key" | "query" | "value";
export const FACETS: readonly Facet[] = ["token", "key", "query", "value"];

export interface Places {
  view: "similar" | "colours";
  facet: Facet;
  layer: number;
  stride: number | null;
  /** Pixels of the picture's shorter side as the network sees it. */
  size: number;
  second: Picture | null;
  /** The place that was clicked, as a pixel of the first picture: it stays while the pointer goes elsewhere. */
  pinned: { x: number; y: number } | null;
}

export const places = new Store<Places>({
  view: "similar",
  facet: "token",
  layer: -1,
  stride: null,
  size: 448,
  second: null,
  pinned: null,
});

/** How pictures are brought to the network, and what is read of it. */
export function settings({ facet, layer, stride, size }: Places): Asked<"/dino/extract"> {
  return { load_size: size, facet, layer, ...(stride !== null && { stride }) };
}

/** What is asked of both pictures alike: features of other settings cannot be compared. */
export function question(places: Places): Asked<"/dino/extract"> {
  return { ...naming("dino"), ...settings(places) };
}
