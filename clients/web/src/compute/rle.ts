/** COCO's run lengths: pixels by columns, beginning with background. */

export interface Rle {
  size: readonly [height: number, width: number];
  counts: string;
}

/** A mask, row by row: 1 inside and 0 outside. */
export interface Bitmap {
  width: number;
  height: number;
  pixels: Uint8Array;
}

/** The lengths that COCO's text holds: 5 bits a letter from 48 on, each number from the fourth as its difference to the one two before. */
export function lengths(counts: string): number[] {
  const found: number[] = [];
  let at = 0;
  while (at < counts.length) {
    let number = 0;
    let shift = 0;
    let letter: number;
    do {
      letter = counts.charCodeAt(at++) - 48;
      number |= (letter & 0x1f) << shift;
      shift += 5;
    } while (letter & 0x20);
    if (letter & 0x10 && shift < 32) number |= -1 << shift;
    if (found.length > 2) number += found[found.length - 2]!;
    found.push(number);
  }
  return found;
}

/** The text of these lengths. */
export function text(runs: readonly number[]): string {
  let written = "";
  runs.forEach((run, index) => {
    let rest = index > 2 ? run - runs[index - 2]! : run;
    let more = true;
    while (more) {
      let letter = rest & 0x1f;
      rest >>= 5;
      more = letter & 0x10 ? rest !== -1 : rest !== 0;
      if (more) letter |= 0x20;
      written += String.fromCharCode(letter + 48);
    }
  });
  return written;
}

/** The mask at a size, which may be another than its own: of each pixel there the one in the middle. */
export function sampled({ size: [height, width], counts }: Rle, toWidth: number, toHeight: number): Bitmap {
  const runs = lengths(counts);
  const pixels = new Uint8Array(toWidth * toHeight);
  let [run, end] = [0, runs[0] ?? 0];
  for (let x = 0; x < toWidth; x++) {
    const column = Math.floor(((x + 0.5) * width) / toWidth) * height;
    for (let y = 0; y < toHeight; y++) {
      const at = column + Math.floor(((y + 0.5) * height) / toHeight);
      while (at >= end && run < runs.length - 1) end += runs[++run]!;
      // Background and mask by turns, beginning with background.
      pixels[y * toWidth + x] = run & 1;
    }
  }
  return { width: toWidth, height: toHeight, pixels };
}

/** The mask at its own size. */
export function bitmap(mask: Rle): Bitmap {
  return sampled(mask, mask.size[1], mask.size[0]);
}

export function rle({ width, height, pixels }: Bitmap): Rle {
  const runs: number[] = [];
  let inside = 0;
  let run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const pixel = pixels[y * width + x]!;
      if (pixel !== inside) {
        runs.push(run);
        run = 0;
        inside = pixel;
      }
      run++;
    }
  }
  runs.push(run);
  return { size: [height, width], counts: text(runs) };
}

/** Pixels inside. */
export function area({ pixels }: Bitmap): number {
  let count = 0;
  for (const pixel of pixels) count += pixel;
  return count;
}

/** The box around it as COCO has it: x, y, width and height in pixels; of nothing all are 0. */
export function box({ width, height, pixels }: Bitmap): [number, number, number, number] {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (pixels[y * width + x] === 0) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  return right < 0 ? [0, 0, 0, 0] : [left, top, right - left + 1, bottom - top + 1];
}
