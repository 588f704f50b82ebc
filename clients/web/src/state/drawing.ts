/** What is drawn on a picture: named objects with their prompts. Values only: each change makes a new one. */

import type { Rle } from "../compute/rle.ts";

export interface Point {
  x: number;
  y: number;
  /** 1 in the object, 0 not in it. */
  label: 0 | 1;
}
export type Box = readonly [x0: number, y0: number, x1: number, y1: number];

export interface Thing {
  id: number;
  name: string;
  points: readonly Point[];
  box: Box | null;
  /** The candidate that somebody chose; null for the best. */
  choice: number | null;
  /** The mask, where it was kept of those that the server found and not asked for by prompts. */
  kept: { rle: Rle; score: number } | null;
}

export interface Drawing {
  things: readonly Thing[];
  /** Which one clicks go to. */
  active: number;
}

export const EMPTY: Drawing = { things: [thing(1)], active: 1 };

function thing(id: number): Thing {
  return { id, name: `object ${id}`, points: [], box: null, choice: null, kept: null };
}

export function isBlank({ points, box, kept }: Thing): boolean {
  return points.length === 0 && box === null && kept === null;
}

export function activeOf({ things, active }: Drawing): Thing {
  return things.find(({ id }) => id === active) ?? things[0]!;
}

export function changed(drawing: Drawing, id: number, change: Partial<Thing>): Drawing {
  return {
    ...drawing,
    things: drawing.things.map((each) => (each.id === id ? { ...each, ...change } : each)),
  };
}

/** A click goes to the active object; where that was kept of what the server found, to a new one. */
export function withPoint(drawing: Drawing, point: Point): Drawing {
  const before = activeOf(drawing).kept === null ? drawing : withThing(drawing);
  const { id, points } = activeOf(before);
  return changed(before, id, { points: [...points, point], choice: null });
}

export function withoutPoint(drawing: Drawing, id: number, index: number): Drawing {
  const points = drawing.things.find((each) => each.id === id)?.points ?? [];
  return changed(drawing, id, { points: points.filter((_, each) => each !== index), choice: null });
}

export function withBox(drawing: Drawing, box: Box | null): Drawing {
  const before = activeOf(drawing).kept === null ? drawing : withThing(drawing);
  return changed(before, activeOf(before).id, { box, choice: null });
}

/** A further object, which clicks go to now; a blank one that is there already is taken. */
export function withThing(drawing: Drawing): Drawing {
  const blank = drawing.things.find(isBlank);
  if (blank) return { ...drawing, active: blank.id };
  const id = 1 + Math.max(0, ...drawing.things.map((each) => each.id));
  return { things: [...drawing.things, thing(id)], active: id };
}

export function withKept(drawing: Drawing, rle: Rle, score: number, name?: string): Drawing {
  const before = withThing(drawing);
  return changed(before, before.active, { kept: { rle, score }, ...(name !== undefined && { name }) });
}

export function withoutThing(drawing: Drawing, id: number): Drawing {
  const things = drawing.things.filter((each) => each.id !== id);
  if (things.length === 0) return EMPTY;
  return { things, active: drawing.active === id ? things[things.length - 1]!.id : drawing.active };
}
