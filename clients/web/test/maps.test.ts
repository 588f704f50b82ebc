import assert from "node:assert/strict";
import { test } from "node:test";
import { heat } from "../src/compute/colours.ts";
import {
  againstNegatives,
  cosines,
  featureOf,
  type Grid,
  labels,
  normalised,
  placeAt,
  softmax,
} from "../src/compute/grid.ts";
import { fromHalves } from "../src/compute/halves.ts";
import { npy } from "../src/compute/npy.ts";
import { basis, colours } from "../src/compute/pca.ts";
import { answers, bytes } from "./answers.ts";

const GEOMETRY = {
  patch_size: 14,
  stride: 7,
  resized_height: 35,
  resized_width: 42,
  pad_right: 0,
  pad_bottom: 0,
  original_height: 70,
  original_width: 84,
  grid_height: 4,
  grid_width: 5,
};
const values = fromHalves(bytes(answers.features).buffer);
const grid: Grid = { rows: 4, columns: 5, channels: 6, features: normalised(values, 6), geometry: GEOMETRY };
const map = cosines(grid, Float32Array.from(answers.text));
const negatives = answers.negatives.map((each) => cosines(grid, Float32Array.from(each)));

function near(found: ArrayLike<number>, expected: readonly number[]): void {
  assert.equal(found.length, expected.length);
  expected.forEach((each, index) => {
    assert.ok(Math.abs(found[index]! - each) < 1e-5, `${index}: ${found[index]} is not ${each}`);
  });
}

test("float16 is read exactly", () => {
  assert.deepEqual([...values], answers.values);
  const special = new Uint16Array([0x0000, 0x8000, 0x0001, 0x03ff, 0x7c00, 0xfc00, 0x7bff]);
  const found = [...fromHalves(special.buffer)];
  const largest = 65504;
  assert.deepEqual(found, [
    0,
    -0,
    2 ** -24,
    1023 * 2 ** -24,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    largest,
  ]);
  assert.ok(Number.isNaN(fromHalves(new Uint16Array([0x7e00]).buffer)[0]));
});

test("cosines, softmax, negatives and labels are those of numpy", () => {
  near(map.values, answers.cosines);
  near(softmax(map, answers.factor).values, answers.softmax);
  near(againstNegatives(map, negatives, answers.factor).values, answers.against);
  assert.deepEqual([...labels([map, ...negatives])], answers.labels);
});

test("a place is most similar to itself", () => {
  const own = cosines(grid, featureOf(grid, 7)).values;
  assert.equal(own.indexOf(Math.max(...own)), 7);
});

test("a pixel belongs to the patch whose middle is nearest", () => {
  // Middles lie at 7, 14, 21, 28 (and 35) of the resized picture, which is half as large.
  assert.equal(placeAt(GEOMETRY, 0, 0), 0);
  assert.equal(placeAt(GEOMETRY, 83, 69), 19);
  assert.equal(placeAt(GEOMETRY, 27, 42), 2 * 5 + 1);
});

test("principal components are those of numpy, but for their signs", () => {
  const { directions } = basis(grid);
  directions.forEach((direction, index) => {
    const expected = answers.components[index]!;
    const dot = expected.reduce((sum, each, i) => sum + each * direction[i]!, 0);
    assert.ok(Math.abs(Math.abs(dot) - 1) < 1e-3, `component ${index}: ${dot}`);
  });
  assert.equal(colours(grid, basis(grid)).length, 4 * 5 * 3);
});

test("NumPy reads the file: it is the one that NumPy writes", () => {
  assert.deepEqual(npy("<f2", [4, 5, 6], bytes(answers.features)), bytes(answers.npy));
});

test("heat goes from dark to light", () => {
  const light = (value: number) => heat(value).reduce((sum, each) => sum + each, 0);
  for (let i = 1; i <= 20; i++) assert.ok(light(i / 20) > light((i - 1) / 20));
  assert.deepEqual(heat(-1), heat(0));
  assert.deepEqual(heat(2), heat(1));
});
