/** The outlines of a mask along the edges of its pixels: exact, so that filling them gives the mask again. */

import type { Bitmap } from "./rle.ts";

export type Corner = readonly [x: number, y: number];
/** A closed line; its first corner is not said again at its end. */
export type Ring = readonly Corner[];
/** An outline and the holes in it. */
export interface Polygon {
  outline: Ring;
  holes: readonly Ring[];
}

// To the right, down, left, up: with the mask on the right hand.
const STEPS: readonly Corner[] = [
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
];

/** All rings: around masks clockwise on the screen, around holes counter-clockwise. */
export function rings({ width, height, pixels }: Bitmap): Ring[] {
  const inside = (x: number, y: number) =>
    x >= 0 && y >= 0 && x < width && y < height && pixels[y * width + x] === 1;
  // Whether an edge leaves the corner (x, y) in this direction: mask to its right, none to its left.
  const leaves = (x: number, y: number, direction: number) => {
    switch (direction) {
      case 0:
        return inside(x, y) && !inside(x, y - 1);
      case 1:
        return inside(x - 1, y) && !inside(x, y);
      case 2:
        return inside(x - 1, y - 1) && !inside(x - 1, y);
      default:
        return inside(x, y - 1) && !inside(x - 1, y - 1);
    }
  };
  const walked = new Uint8Array((width + 1) * (height + 1));
  const found: Ring[] = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (const begin of [0, 2]) {
        const [cornerX, cornerY] = begin === 0 ? [x, y] : [x + 1, y + 1];
        if (!leaves(cornerX, cornerY, begin) || walked[cornerY * (width + 1) + cornerX]! & (1 << begin))
          continue;
        found.push(walk(cornerX, cornerY, begin));
      }
    }
  }
  return found;

  function walk(startX: number, startY: number, begin: number): Ring {
    const ring: Corner[] = [];
    let [x, y, direction, before] = [startX, startY, begin, -1];
    do {
      walked[y * (width + 1) + x]! |= 1 << direction;
      if (direction !== before) ring.push([x, y]);
      before = direction;
      x += STEPS[direction]![0];
      y += STEPS[direction]![1];
      // Where two pixels meet at a corner they are apart: the line turns right, around its own pixel.
      direction = [1, 0, 3].map((turn) => (before + turn) % 4).find((each) => leaves(x, y, each))!;
    } while (x !== startX || y !== startY || direction !== begin);
    // The start may lie in the middle of an edge.
    return before === begin ? ring.slice(1) : ring;
  }
}

/** Twice the area within, negative where the ring goes counter-clockwise on the screen. */
export function twiceArea(ring: Ring): number {
  return ring.reduce((sum, [x, y], index) => {
    const [nextX, nextY] = ring[(index + 1) % ring.length]!;
    return sum + x * nextY - nextX * y;
  }, 0);
}

function contains(ring: Ring, x: number, y: number): boolean {
  let within = false;
  ring.forEach(([ax, ay], index) => {
    const [bx, by] = ring[(index + 1) % ring.length]!;
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  });
  return within;
}

/** The parts of a mask, each with its holes. */
export function polygons(mask: Bitmap): Polygon[] {
  const all = rings(mask);
  const parts = all
    .filter((ring) => twiceArea(ring) > 0)
    .sort((one, other) => twiceArea(one) - twiceArea(other))
    .map((outline) => ({ outline, holes: [] as Ring[] }));
  for (const hole of all.filter((ring) => twiceArea(ring) < 0)) {
    // A place beside its first edge, within the mask around the hole; the smallest part there is its own.
    const [[ax, ay], [bx, by]] = [hole[0]!, hole[1]!];
    const [dx, dy] = [Math.sign(bx - ax), Math.sign(by - ay)];
    const [x, y] = [ax + (dx - dy) / 2, ay + (dy + dx) / 2];
    parts.find((part) => contains(part.outline, x, y))?.holes.push(hole);
  }
  return parts;
}
