/** Dense features: fetched once for each picture and setting, as float16, and kept in the page. */

import type { Asked } from "../api/bodies.ts";
import { askBytes } from "../api/pictures.ts";
import type { Geometry } from "../api/replies.ts";
import type { Answer } from "../api/server.ts";
import { type Grid, normalised } from "../compute/grid.ts";
import { fromHalves } from "../compute/halves.ts";
import type { Picture } from "./picture.ts";
import { counted, session } from "./session.ts";

type FeaturePath = "/clip/extract" | "/dino/extract";

/** A grid, and its bytes as they came. */
export interface Features {
  grid: Grid;
  halves: Uint8Array<ArrayBuffer>;
}

// Of each picture the newest few: a grid is some MiB.
const MOST_KEPT = 4;
const kept = new WeakMap<Picture, Map<string, Promise<Features>>>();

/** The features of a picture; asked for once. Raises Refusal. */
export function features<P extends FeaturePath>(
  path: P,
  picture: Picture,
  asked: Asked<P>,
): Promise<Features> {
  const about = { ...asked, dtype: "float16" } as Asked<P>;
  const name = `${path} ${JSON.stringify(about)}`;
  const own = kept.get(picture) ?? new Map<string, Promise<Features>>();
  kept.set(picture, own);
  const there = own.get(name);
  if (there) return there;
  const made = askBytes(path, picture.blob, about, { key: session.now.key }).then(read);
  own.set(name, made);
  made.catch(() => own.delete(name));
  if (own.size > MOST_KEPT) own.delete(own.keys().next().value!);
  return made;
}

function read(answer: Answer<ArrayBuffer>): Features {
  const bytes = counted(answer);
  const [rows, columns, channels] = JSON.parse(answer.headers.get("X-Featsvc-Shape")!) as [
    number,
    number,
    number,
  ];
  const geometry: Geometry = JSON.parse(answer.headers.get("X-Featsvc-Geometry")!);
  const grid = { rows, columns, channels, features: normalised(fromHalves(bytes), channels), geometry };
  return { grid, halves: new Uint8Array(bytes) };
}
