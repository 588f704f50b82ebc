import assert from "node:assert/strict";
import { test } from "node:test";
import { polygons, rings, twiceArea } from "../src/compute/polygons.ts";
import { area, type Bitmap, bitmap, box, rle, sampled } from "../src/compute/rle.ts";
import { coco, geoJson, labelMap, svg } from "../src/export/masks.ts";
import { masks } from "./answers.ts";

test("run lengths are read and written as pycocotools does", () => {
  for (const { mask, counts } of masks) {
    const { width, height } = mask;
    assert.deepEqual(rle(mask), { size: [height, width], counts });
    assert.deepEqual(bitmap({ size: [height, width], counts }), mask);
  }
});

test("area and box are those of pycocotools", () => {
  for (const each of masks) {
    assert.equal(area(each.mask), each.area);
    assert.deepEqual(box(each.mask), each.box);
  }
});

test("a mask at another size has the pixel in the middle of each", () => {
  const { mask, counts } = masks[0]!;
  const { width, height, pixels } = mask;
  const small = sampled({ size: [height, width], counts }, 10, 7);
  small.pixels.forEach((pixel, at) => {
    const x = Math.floor((((at % 10) + 0.5) * width) / 10);
    const y = Math.floor(((Math.floor(at / 10) + 0.5) * height) / 7);
    assert.equal(pixel, pixels[y * width + x]);
  });
});

/** The pixels whose middles lie within the rings, by crossings of the edges to their left. */
function filled({ width, height }: Bitmap, all: ReturnType<typeof rings>): Uint8Array {
  const pixels = new Uint8Array(width * height);
  for (const ring of all) {
    ring.forEach(([x, y], index) => {
      const [nextX, nextY] = ring[(index + 1) % ring.length]!;
      assert.ok(x === nextX || y === nextY);
      for (let row = Math.min(y, nextY); row < Math.max(y, nextY); row++) {
        for (let column = x; column < width; column++) pixels[row * width + column]! ^= 1;
      }
    });
  }
  return pixels;
}

test("polygons with their holes, filled, give the mask again", () => {
  for (const { mask, area } of masks) {
    const parts = polygons(mask);
    const all = parts.flatMap(({ outline, holes }) => [outline, ...holes]);
    assert.deepEqual(filled(mask, all), mask.pixels);
    assert.equal(all.length, rings(mask).length);
    assert.equal(all.reduce((sum, ring) => sum + twiceArea(ring), 0) / 2, area);
  }
});

test("a hole belongs to the part around it, and a part within a hole is one of its own", () => {
  const rows = ["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"];
  const pixels = Uint8Array.from(rows.join(""), (sign) => Number(sign === "#"));
  const parts = polygons({ width: 7, height: 7, pixels });
  assert.deepEqual(
    parts.map(({ outline, holes }) => [twiceArea(outline) / 2, holes.map((hole) => twiceArea(hole) / 2)]),
    [
      [9, [-1]],
      [49, [-25]],
    ],
  );
});

test("pixels that meet at a corner are parts of their own", () => {
  const parts = polygons({ width: 2, height: 2, pixels: Uint8Array.from([1, 0, 0, 1]) });
  assert.equal(parts.length, 2);
});

test("exports have every object by its name", () => {
  const named = masks.slice(0, 1).map(({ mask }) => ({ name: "a <b>", mask, rle: rle(mask), score: 0.5 }));
  const { width, height } = named[0]!.mask;
  const file = JSON.parse(JSON.stringify(coco("a.jpg", named, width, height)));
  assert.equal(file.categories[file.annotations[0].category_id - 1].name, "a <b>");
  assert.equal(file.annotations[0].segmentation.counts, masks[0]!.counts);
  const shape = JSON.parse(JSON.stringify(geoJson(named))).features[0].geometry;
  for (const ring of shape.coordinates.flat()) assert.deepEqual(ring[0], ring.at(-1));
  assert.match(svg(named, width, height), /<title>a &#60;b&#62;<\/title>/);
  assert.deepEqual([...labelMap(named, width, height)], [...named[0]!.mask.pixels]);
});
