/** Grids of features, compared place by place. */

import type { Geometry } from "../api/replies.ts";

/** Features of patches, rows x columns x channels, each of length 1. */
export interface Grid {
  rows: number;
  columns: number;
  channels: number;
  features: Float32Array;
  geometry: Geometry;
}

/** A number for each patch, row by row. */
export interface Map2d {
  rows: number;
  columns: number;
  values: Float32Array;
}

/** Each vector of so many channels divided by its length. */
export function normalised(values: Float32Array, channels: number): Float32Array {
  const made = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += channels) {
    let square = 0;
    for (let i = start; i < start + channels; i++) square += values[i]! * values[i]!;
    const factor = 1 / Math.max(Math.sqrt(square), 1e-12);
    for (let i = start; i < start + channels; i++) made[i] = values[i]! * factor;
  }
  return made;
}

/** The cosine of each patch with a vector of length 1. */
export function cosines(grid: Grid, vector: Float32Array): Map2d {
  const { features, channels, rows, columns } = grid;
  const values = new Float32Array(rows * columns);
  for (let place = 0, at = 0; place < values.length; place++) {
    // Four sums, which the processor adds side by side.
    let [a, b, c, d] = [0, 0, 0, 0];
    let i = 0;
    for (; i + 3 < channels; i += 4, at += 4) {
      a += features[at]! * vector[i]!;
      b += features[at + 1]! * vector[i + 1]!;
      c += features[at + 2]! * vector[i + 2]!;
      d += features[at + 3]! * vector[i + 3]!;
    }
    for (; i < channels; i++, at++) a += features[at]! * vector[i]!;
    values[place] = a + b + c + d;
  }
  return { rows, columns, values };
}

/** The feature of a patch. */
export function featureOf(grid: Grid, place: number): Float32Array {
  return grid.features.subarray(place * grid.channels, (place + 1) * grid.channels);
}

/** The patch whose middle is nearest to a pixel of the picture. */
export function placeAt(geometry: Geometry, x: number, y: number): number {
  const cell = (pixel: number, resized: number, original: number, count: number) => {
    const there = ((pixel + 0.5) * resized) / original;
    const index = Math.round((there - geometry.patch_size / 2) / geometry.stride);
    return Math.min(Math.max(index, 0), count - 1);
  };
  const row = cell(y, geometry.resized_height, geometry.original_height, geometry.grid_height);
  const column = cell(x, geometry.resized_width, geometry.original_width, geometry.grid_width);
  return row * geometry.grid_width + column;
}

/** A softmax over all places: exp(s (m - max m)) over its sum. */
export function softmax(map: Map2d, factor: number): Map2d {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of map.values) most = Math.max(most, value);
  const values = map.values.map((value) => Math.exp(factor * (value - most)));
  let sum = 0;
  for (const value of values) sum += value;
  for (let i = 0; i < values.length; i++) values[i]! /= sum;
  return { ...map, values };
}

/** How much a text beats the negatives at each place: exp(s c) / (exp(s c) + the sum of exp(s n)). */
export function againstNegatives(map: Map2d, negatives: readonly Map2d[], factor: number): Map2d {
  const values = map.values.map((value, place) => {
    let sum = 1;
    for (const each of negatives) sum += Math.exp(factor * (each.values[place]! - value));
    return 1 / sum;
  });
  return { ...map, values };
}

/** The index of the largest map at each place. */
export function labels(maps: readonly Map2d[]): Uint16Array {
  const first = maps[0]!;
  const found = new Uint16Array(first.values.length);
  for (let place = 0; place < found.length; place++) {
    let best = 0;
    for (let i = 1; i < maps.length; i++) {
      if (maps[i]!.values[place]! > maps[best]!.values[place]!) best = i;
    }
    found[place] = best;
  }
  return found;
}
