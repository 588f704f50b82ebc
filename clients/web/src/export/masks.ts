/** Masks in the forms that other programs read. */

import { colourOf } from "../compute/colours.ts";
import { polygons, type Ring } from "../compute/polygons.ts";
import { area, type Bitmap, box, type Rle } from "../compute/rle.ts";

export interface Named {
  name: string;
  mask: Bitmap;
  rle: Rle;
  score: number | null;
}

/** COCO's file of annotations, with run lengths: pycocotools reads it. */
export function coco(file: string, all: readonly Named[], width: number, height: number): object {
  return {
    images: [{ id: 1, file_name: file, width, height }],
    categories: all.map(({ name }, index) => ({ id: index + 1, name })),
    annotations: all.map(({ mask, rle, score }, index) => ({
      id: index + 1,
      image_id: 1,
      category_id: index + 1,
      segmentation: rle,
      area: area(mask),
      bbox: box(mask),
      iscrowd: 0,
      ...(score !== null && { score }),
    })),
  };
}

/** One feature for each object, in pixels of the picture: x to the right, y down. */
export function geoJson(all: readonly Named[]): object {
  return {
    type: "FeatureCollection",
    features: all.map(({ name, mask, score }) => ({
      type: "Feature",
      properties: { name, score },
      geometry: {
        type: "MultiPolygon",
        coordinates: polygons(mask).map(({ outline, holes }) => [outline, ...holes].map(closed)),
      },
    })),
  };
}

function closed(ring: Ring): Ring {
  return [...ring, ring[0]!];
}

/** One path for each object, with its holes. */
export function svg(all: readonly Named[], width: number, height: number): string {
  const paths = all.map(({ name, mask }, index) => {
    const line = polygons(mask)
      .flatMap(({ outline, holes }) => [outline, ...holes])
      .map((ring) => `M${ring.map((corner) => corner.join(" ")).join("L")}Z`)
      .join("");
    const [red, green, blue] = colourOf(index);
    return `<path fill="rgb(${red},${green},${blue})" fill-rule="evenodd" d="${line}"><title>${escaped(name)}</title></path>`;
  });
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n${paths.join("\n")}\n</svg>\n`;
}

function escaped(text: string): string {
  return text.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** 0, or 1 + the index of the last object there: objects lie over those before them. */
export function labelMap(all: readonly Named[], width: number, height: number): Uint16Array {
  const labels = new Uint16Array(width * height);
  all.forEach(({ mask }, index) => {
    mask.pixels.forEach((pixel, at) => {
      if (pixel) labels[at] = index + 1;
    });
  });
  return labels;
}

/** White inside and black outside. */
export function canvasOf({ width, height, pixels }: Bitmap): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const rgba = new Uint32Array(image.data.buffer);
  pixels.forEach((pixel, at) => {
    rgba[at] = pixel ? 0xffffffff : 0xff000000;
  });
  canvas.getContext("2d")!.putImageData(image, 0, 0);
  return canvas;
}
