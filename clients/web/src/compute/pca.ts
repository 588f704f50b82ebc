/** Principal components of a grid, and the colours that they make of it and of others. */

import type { Grid } from "./grid.ts";

const COMPONENTS = 3;
const ROUNDS = 30;

/** Three directions in the space of features, and what is black and white along each. */
export interface Basis {
  mean: Float32Array;
  directions: readonly Float32Array[];
  ranges: readonly (readonly [low: number, high: number])[];
}

/** The first three components, by power iteration with those before taken off; 1% of the places at each end are clipped. */
export function basis(grid: Grid): Basis {
  const { channels, features } = grid;
  const count = grid.rows * grid.columns;
  const mean = new Float32Array(channels);
  for (let i = 0; i < features.length; i++) mean[i % channels]! += features[i]! / count;
  const directions: Float32Array[] = [];
  for (let component = 0; component < COMPONENTS; component++) {
    // Any direction that is not orthogonal to the component will do; the same one each time.
    let direction = Float32Array.from({ length: channels }, (_, i) => Math.sin(1 + i * (component + 1)));
    for (let round = 0; round < ROUNDS; round++) {
      const next = new Float32Array(channels);
      for (let place = 0; place < count; place++) {
        const length = along(features, place * channels, mean, direction);
        for (let i = 0; i < channels; i++) next[i]! += length * (features[place * channels + i]! - mean[i]!);
      }
      for (const earlier of directions) {
        const shared = dot(next, earlier);
        for (let i = 0; i < channels; i++) next[i]! -= shared * earlier[i]!;
      }
      const size = Math.sqrt(dot(next, next));
      if (size === 0) break;
      direction = next.map((value) => value / size);
    }
    directions.push(direction);
  }
  const ranges = directions.map((direction) => {
    const values = projected(grid, mean, direction).sort();
    const clipped = Math.floor(count * 0.01);
    return [values[clipped]!, values[count - 1 - clipped]!] as const;
  });
  return { mean, directions, ranges };
}

/** Red, green and blue of each place, 0 to 255. */
export function colours(grid: Grid, { mean, directions, ranges }: Basis): Uint8ClampedArray {
  const made = new Uint8ClampedArray(grid.rows * grid.columns * 3);
  directions.forEach((direction, component) => {
    const [low, high] = ranges[component]!;
    projected(grid, mean, direction).forEach((value, place) => {
      made[place * 3 + component] = (255 * (value - low)) / Math.max(high - low, 1e-12);
    });
  });
  return made;
}

function projected(grid: Grid, mean: Float32Array, direction: Float32Array): Float32Array {
  return Float32Array.from({ length: grid.rows * grid.columns }, (_, place) =>
    along(grid.features, place * grid.channels, mean, direction),
  );
}

function along(features: Float32Array, start: number, mean: Float32Array, direction: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < direction.length; i++) sum += (features[start + i]! - mean[i]!) * direction[i]!;
  return sum;
}

function dot(one: Float32Array, other: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += one[i]! * other[i]!;
  return sum;
}
