/** What is asked, in the address behind its #: whoever opens it asks the same again. The key is never in it. */

import { type Drawing, EMPTY, type Thing } from "./drawing.ts";
import { type Chosen, FAMILIES } from "./models.ts";
import { FACETS, type Places } from "./places.ts";
import type { Texts } from "./texts.ts";

export const TABS = ["masks", "text", "places", "state"] as const;
export type Tab = (typeof TABS)[number];

/** All that an address holds. */
export interface Question {
  tab: Tab;
  /** Of the gallery, or an address: other pictures are nowhere but in the browser that opened them. */
  picture: string | null;
  second: string | null;
  drawing: Drawing;
  texts: Texts;
  places: Places;
  /** By the options that name them, as questions do. */
  models: Chosen;
}

/** What an address says; of the parts of a drawing it is not known what they are. */
export interface Told {
  tab: Tab;
  picture: string | null;
  second: string | null;
  things: unknown;
  active: number;
  texts: Partial<Texts>;
  places: Partial<Omit<Places, "second">>;
  models: Chosen;
}

/** A text for the address; it begins with #. */
export function written({ tab, picture, second, drawing, texts, places, models }: Question): string {
  const parts = new URLSearchParams({ tab });
  if (picture) parts.set("picture", picture);
  if (picture && drawing.things.some(({ points, box }) => points.length > 0 || box !== null)) {
    // What was kept of the masks that the server found is a mask and no question.
    const things = drawing.things.filter(({ kept }) => kept === null);
    parts.set(
      "objects",
      JSON.stringify(
        things.map(({ id, name, points, box, choice }) => ({
          id,
          name,
          points: points.map(({ x, y, label }) => [x, y, label]),
          box,
          choice,
        })),
      ),
    );
    parts.set("active", String(drawing.active));
  }
  if (texts.texts.length > 0 || texts.negatives.length > 0) parts.set("texts", JSON.stringify(texts));
  const { second: _, ...others } = places;
  if (tab === "places") parts.set("places", JSON.stringify(others));
  if (second) parts.set("second", second);
  if (Object.keys(models).length > 0) parts.set("models", JSON.stringify(models));
  return `#${parts}`;
}

/** What an address asks; whatever in it is not understood is passed over. */
export function read(hash: string): Told {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const tab = TABS.find((each) => each === parts.get("tab")) ?? "masks";
  return {
    tab,
    picture: parts.get("picture"),
    second: parts.get("second"),
    things: parsed(parts.get("objects")),
    active: Number(parts.get("active") ?? 1),
    texts: textsOf(parsed(parts.get("texts"))),
    places: placesOf(parsed(parts.get("places"))),
    models: modelsOf(parsed(parts.get("models"))),
  };
}

/** The drawing that an address holds, on a picture of this size. */
export function drawingOf({ things, active }: Told, width: number, height: number): Drawing {
  const all = (Array.isArray(things) ? things : []).flatMap((each) => thingOf(each, width, height) ?? []);
  if (all.length === 0) return EMPTY;
  return { things: all, active: all.some(({ id }) => id === active) ? active : all[0]!.id };
}

function parsed(text: string | null): unknown {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const isText = (value: unknown): value is string => typeof value === "string";
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;

function thingOf(value: unknown, width: number, height: number): Thing | null {
  if (!isRecord(value)) return null;
  const { id, name, points, box, choice } = value;
  if (!isNumber(id) || !isText(name) || !Array.isArray(points)) return null;
  const inside = (x: unknown, y: unknown) =>
    isNumber(x) && isNumber(y) && x >= 0 && y >= 0 && x < width && y < height;
  return {
    id,
    name,
    points: points
      .filter((each) => Array.isArray(each) && inside(each[0], each[1]))
      .map(([x, y, label]) => ({ x, y, label: label === 0 ? 0 : 1 })),
    box:
      Array.isArray(box) && box.length === 4 && box.every(isNumber) ? (box as unknown as Thing["box"]) : null,
    choice: isNumber(choice) ? choice : null,
    kept: null,
  };
}

function modelsOf(value: unknown): Chosen {
  if (!isRecord(value)) return {};
  const options = (each: unknown) => isRecord(each) && Object.values(each).every(isText);
  return Object.fromEntries(
    FAMILIES.filter((family) => options(value[family])).map((family) => [family, value[family]]),
  );
}

function textsOf(value: unknown): Partial<Texts> {
  if (!isRecord(value)) return {};
  const { texts, negatives, factor, shown, size } = value;
  return {
    ...(Array.isArray(texts) && { texts: texts.filter(isText) }),
    ...(Array.isArray(negatives) && { negatives: negatives.filter(isText) }),
    ...(isNumber(factor) && { factor }),
    ...((isNumber(shown) || shown === null) && { shown }),
    ...(isNumber(size) && { size }),
  };
}

function placesOf(value: unknown): Partial<Omit<Places, "second">> {
  if (!isRecord(value)) return {};
  const { view, layer, stride, size, pinned } = value;
  const facet = FACETS.find((each) => each === value.facet);
  return {
    ...((view === "similar" || view === "colours") && { view }),
    ...(facet && { facet }),
    ...(isNumber(layer) && { layer }),
    ...(isNumber(stride) && { stride }),
    ...(isNumber(size) && { size }),
    ...(isRecord(pinned) &&
      isNumber(pinned.x) &&
      isNumber(pinned.y) && { pinned: { x: pinned.x, y: pinned.y } }),
  };
}
