/** Masks and maps as colours on a canvas. */

import type { Geometry } from "../api/replies.ts";
import { colourOf, HEAT_TABLE, type Rgb } from "../compute/colours.ts";
import type { Map2d } from "../compute/grid.ts";
import type { Bitmap } from "../compute/rle.ts";

// Masks are drawn at no more than this, however large the picture is.
const MOST_PIXELS_A_SIDE = 1024;
const FILL = 0.42;
const FAINT = 0.22;

/** The size at which a picture of this size is painted over. */
export function overlaySize(width: number, height: number): [number, number] {
  const factor = Math.min(1, MOST_PIXELS_A_SIDE / Math.max(width, height));
  return [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
}

export interface Painted {
  mask: Bitmap;
  colour: Rgb;
  /** A suggestion, not a result. */
  faint: boolean;
}

export function clear(canvas: HTMLCanvasElement): void {
  canvas.getContext("2d")!.clearRect(0, 0, canvas.width, canvas.height);
}

/** Masks, each with its edge; all of the size of the canvas. */
export function paintMasks(canvas: HTMLCanvasElement, all: readonly Painted[]): void {
  const { width, height } = canvas;
  const image = new ImageData(width, height);
  const rgba = image.data;
  for (const { mask, colour, faint } of all) {
    const { pixels } = mask;
    const opacity = Math.round(255 * (faint ? FAINT : FILL));
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        if (pixels[at] === 0) continue;
        const edge =
          x === 0 ||
          y === 0 ||
          x === width - 1 ||
          y === height - 1 ||
          pixels[at - 1] === 0 ||
          pixels[at + 1] === 0 ||
          pixels[at - width] === 0 ||
          pixels[at + width] === 0;
        rgba[4 * at] = colour[0];
        rgba[4 * at + 1] = colour[1];
        rgba[4 * at + 2] = colour[2];
        rgba[4 * at + 3] = edge ? 255 : opacity;
      }
    }
  }
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}

const cells = document.createElement("canvas");

/** Colours of patches over the part of the picture that each is about; the canvas has the shape of the picture. */
export function paintCells(
  canvas: HTMLCanvasElement,
  image: ImageData,
  geometry: Geometry,
  smooth: boolean,
): void {
  cells.width = image.width;
  cells.height = image.height;
  cells.getContext("2d")!.putImageData(image, 0, 0);
  const context = canvas.getContext("2d")!;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = smooth;
  const [scaleX, scaleY] = [canvas.width / geometry.resized_width, canvas.height / geometry.resized_height];
  // A patch is about its middle: with a stride below its size neighbours overlap.
  const margin = (geometry.patch_size - geometry.stride) / 2;
  context.drawImage(
    cells,
    margin * scaleX,
    margin * scaleY,
    geometry.grid_width * geometry.stride * scaleX,
    geometry.grid_height * geometry.stride * scaleY,
  );
}

/** A map from its lowest value, dark, to its highest. */
export function heatImage({ rows, columns, values }: Map2d, low: number, high: number): ImageData {
  const image = new ImageData(columns, rows);
  const rgba = image.data;
  const factor = 255 / Math.max(high - low, 1e-12);
  for (let place = 0; place < values.length; place++) {
    const level = Math.min(255, Math.max(0, Math.round((values[place]! - low) * factor)));
    const colour = HEAT_TABLE[level]!;
    rgba[4 * place] = colour[0];
    rgba[4 * place + 1] = colour[1];
    rgba[4 * place + 2] = colour[2];
    rgba[4 * place + 3] = 255;
  }
  return image;
}

export function range(values: Float32Array): [low: number, high: number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/** The colour of the label of each patch. */
export function labelImage(labels: Uint16Array, columns: number, rows: number): ImageData {
  const colours = new Uint8ClampedArray(labels.length * 3);
  labels.forEach((label, place) => {
    colours.set(colourOf(label), place * 3);
  });
  return colourImage(colours, columns, rows);
}

/** Red, green and blue of each patch. */
export function colourImage(colours: Uint8ClampedArray, columns: number, rows: number): ImageData {
  const image = new ImageData(columns, rows);
  for (let place = 0; place < columns * rows; place++) {
    image.data.set(colours.subarray(place * 3, place * 3 + 3), place * 4);
    image.data[place * 4 + 3] = 255;
  }
  return image;
}
