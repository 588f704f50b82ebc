/** Texts to look for, and their embeddings: only words go to the server, the maps are made in the page. */

import type { Asked, Embedding } from "../api/bodies.ts";
import { JSON_FORM, post } from "../api/server.ts";
import { floats } from "../compute/floats.ts";
import { models, naming, onChoice } from "./models.ts";
import { Newest } from "./newest.ts";
import { attempt, counted, hasKey, session, setError } from "./session.ts";
import { Store } from "./store.ts";

export interface Texts {
  texts: readonly string[];
  negatives: readonly string[];
  /** Of a softmax; 0 shows the cosines. */
  factor: number;
  /** The index of the text whose map is shown; null for the map of labels. */
  shown: number | null;
  /** Pixels of the picture's shorter side as the network sees it. */
  size: number;
}

export const texts = new Store<Texts>({ texts: [], negatives: [], factor: 0, shown: 0, size: 448 });
/** Counts what was learnt: maps are to be made anew. */
export const learnt = new Store({ times: 0 });

const MOST_KEPT = 1000;
const embeddings = new Map<string, Float32Array>();

/** The embedding of a text by the model that is chosen, of length 1, where it is known already. */
export function embeddingOf(text: string): Float32Array | undefined {
  return embeddings.get(nameOf(text));
}

function nameOf(text: string): string {
  return JSON.stringify([naming("clip"), text]);
}

const asking = new Newest<readonly string[]>(async (wanted) => {
  await hasKey();
  const model = naming("clip");
  const act = async () => {
    const unknown = [...new Set(wanted)].filter((text) => !embeddingOf(text));
    if (unknown.length === 0) return;
    const names = unknown.map(nameOf);
    const question = { ...naming("clip"), text: unknown };
    const answer = await post<Embedding>("/clip/encode_text", question, JSON_FORM, { key: session.now.key });
    const { text_embedding, shape } = counted(answer);
    const all = floats(text_embedding);
    const channels = shape[shape.length - 1]!;
    if (embeddings.size > MOST_KEPT) embeddings.clear();
    names.forEach((name, index) => {
      embeddings.set(name, all.subarray(index * channels, (index + 1) * channels));
    });
    learnt.set({ times: learnt.now.times + 1 });
  };
  await attempt("text", act, () => naming("clip") === model);
});

/** Asks for those embeddings that are not known yet. */
export function embed(): void {
  const { texts: positive, negatives } = texts.now;
  const all = [...positive, ...negatives];
  if (all.some((text) => !embeddingOf(text))) asking.put(all);
}

texts.subscribe(embed);
models.subscribe(embed);
// What the model before refused says nothing of this one.
onChoice("clip", () => setError("text", null));

/** What is asked for the features of a picture. */
export function question({ size }: Texts): Asked<"/clip/extract"> {
  return { ...naming("clip"), load_size: size };
}

/** The texts of a field: one a line. */
export function lines(value: string): string[] {
  return value
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}
