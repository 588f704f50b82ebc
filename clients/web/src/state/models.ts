/** Which model of each family answers: the one that the server takes where none is named, or one that is chosen here. */

import type { Model, Options, State } from "../api/server.ts";
import { Store } from "./store.ts";

export const FAMILIES = ["clip", "dino", "sam2"] as const;
export type Family = (typeof FAMILIES)[number];
/** The options that name the chosen model of a family; nothing of one whose default answers. */
export type Chosen = Readonly<Partial<Record<Family, Options>>>;

interface Models {
  /** Those that the key may use. */
  known: readonly Model[];
  /** Keys of those that answer where none is named. */
  defaults: readonly string[];
  chosen: Chosen;
}

export const models = new Store<Models>({ known: [], defaults: [], chosen: {} });

const DEFAULT: Options = {};

/**
 * The options that name the model in a question; none where the default answers. They may come from a link:
 * what a question says itself stands after them.
 */
export function naming(family: Family): Options {
  return models.now.chosen[family] ?? DEFAULT;
}

/** The message that names the model, for questions that have one; none where the default answers. */
export function named(family: Family): { model?: Options } {
  const options = naming(family);
  return Object.keys(options).length > 0 ? { model: options } : {};
}

/** The models of a family that can be asked, the default before others. */
export function choices(all: Models, family: Family): Model[] {
  return all.known
    .filter((each) => familyOf(each.family) === family && (each.available || isDefault(all, each)))
    .sort((one, other) => Number(isDefault(all, other)) - Number(isDefault(all, one)));
}

/** Whether it answers where none is named. */
export function isDefault({ defaults }: Models, { key }: Model): boolean {
  return defaults.includes(key);
}

/** The one that answers now; nothing where the server has not told, or not of this one. */
export function answering(all: Models, family: Family): Model | undefined {
  const options = all.chosen[family];
  const own = choices(all, family);
  return own.find((each) => (options ? isSame(each.options, options) : isDefault(all, each)));
}

/** Has this model answer from now on; the server's default where it is none. */
export function choose(family: Family, model: Model | null): void {
  const { [family]: _, ...others } = models.now.chosen;
  const isNamed = model !== null && !isDefault(models.now, model);
  models.set({ chosen: isNamed ? { ...others, [family]: model.options } : others });
}

/** Takes what the server tells of its models. */
export function take({ status, models: all }: State): void {
  models.set({ known: all.models, defaults: status.default_models.map(({ key }) => key) });
}

/** Acts when another model of the family is to answer. */
export function onChoice(family: Family, act: () => void): void {
  let before = naming(family);
  models.subscribe(() => {
    const now = naming(family);
    if (now === before) return;
    before = now;
    act();
  });
}

/** As the REST paths call a family. */
export function familyOf(name: string): string {
  return name.replace("FAMILY_", "").toLowerCase();
}

function isSame(one: Options, other: Options): boolean {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}
