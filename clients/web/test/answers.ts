/** What the Python side computes of the same data: tests/web/answers.py writes it. */

import { readFileSync } from "node:fs";
import type { Bitmap } from "../src/compute/rle.ts";

interface Answers {
  masks: { size: [number, number]; pixels: string; counts: string; area: number; box: number[] }[];
  features: string;
  values: number[];
  text: number[];
  negatives: number[][];
  factor: number;
  cosines: number[];
  softmax: number[];
  against: number[];
  labels: number[];
  components: number[][];
  npy: string;
}

export const answers: Answers = JSON.parse(readFileSync(new URL("answers.json", import.meta.url), "utf8"));

export function bytes(base64: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(base64, "base64"));
}

export const masks = answers.masks.map(({ size: [height, width], pixels, ...others }) => {
  const mask: Bitmap = { width, height, pixels: Uint8Array.from(pixels, Number) };
  return { mask, ...others };
});
