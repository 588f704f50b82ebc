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

/** The options that name the model in a question; none where the default answers. */
export function naming(family: Family): Options {
  return models.now.chosen[family] ?? DEFAULT;
}

/** The message that names the model, for questions that have one; none where the default answers. */
export function named(family: Family): { model?: Options } {
  const options = naming(family);
  return Object.keys(options).length > 0 ? { model: options } : {};
}

/** The models of a family that can be asked, the default before others. */
export function choices({ known, defaults }: Models, family: Family): Model[] {
  const isDefault = ({ key }: Model) => defaults.includes(key);
  return known
    .filter((each) => familyOf(each.family) === family && (each.available || isDefault(each)))
    .sort((one, other) => Number(isDefault(other)) - Number(isDefault(one)));
}

/** The one that answers now; nothing where the server has not told. */
export function answering(all: Models, family: Family): Model | undefined {
  const options = all.chosen[family];
  const own = choices(all, family);
  return options ? own.find((each) => isSame(each.options, options)) : own[0];
}

/** Has this model answer from now on. */
export function choose(family: Family, { key, options }: Model): void {
  const { [family]: _, ...others } = models.now.chosen;
  models.set({ chosen: models.now.defaults.includes(key) ? others : { ...others, [family]: options } });
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
