import { decode as decodedPng, type DecodedPng } from "fast-png";
import { Damaged } from "./damaged.js";
import type { Mask, PromptMasks, Rle } from "./gen/featsvc/v1/sam2_pb.js";
import { DType, type Tensor } from "./gen/featsvc/v1/tensor_pb.js";
import { NdArray, product } from "./ndarray.js";
import { decode, floats } from "./tensor.js";

/**
 * The pixels of an automatic mask, height x width. Those of masks asked for as a label map stand in the reply's label map,
 * which `decode(reply.labelMap, "uint16")` reads.
 */
export function mask(from: Mask): NdArray<"bool"> {
  const { segmentation } = from;
  switch (segmentation.case) {
    case "bitmap":
      return bitmap(segmentation.value);
    case "rle":
      return runLengths(segmentation.value);
    case "png":
      return pngMask(segmentation.value);
    default:
      throw new Damaged("a mask without pixels; a label map may have them");
  }
}

/**
 * The masks of one prompt, masks x height x width, however they were encoded. Logits are no masks: {@link floats} of their
 * tensor reads them.
 */
export function promptMasks(from: PromptMasks): NdArray<"bool"> {
  if (from.masks !== undefined) {
    return bitmap(from.masks);
  }
  const all = [...from.rle.map(runLengths), ...from.png.map(pngMask)];
  if (all.length === 0) {
    throw new Damaged("masks without pixels; a label map may have them");
  }
  const { shape, data } = all[0]!;
  const stacked = new Uint8Array(all.length * data.length);
  all.forEach((each, i) => {
    if (each.shape.some((size, axis) => size !== shape[axis])) {
      throw new Damaged("masks of different sizes");
    }
    stacked.set(each.data, i * data.length);
  });
  return new NdArray("bool", [all.length, ...shape], stacked);
}

/**
 * The pixels of a mask written as runs in column-major order, height x width.
 *
 * The format is that of maskApi.c in cocodataset/cocoapi.
 */
export function runLengths(rle: Rle): NdArray<"bool"> {
  const { runs: form, height, width } = rle;
  const runs = form.case === "coco" ? cocoRuns(form.value) : (form.value?.counts ?? []);
  // Looked at before memory is taken: sizes come from outside.
  let pixels = 0;
  for (const run of runs) {
    if (!(run >= 0 && run < 2 ** 32)) {
      throw new Damaged(`a run of ${run} pixels`);
    }
    pixels += run;
  }
  if (pixels !== height * width) {
    throw new Damaged(`runs of ${pixels} pixels for a mask of ${height} x ${width}`);
  }
  const values = new Uint8Array(pixels);
  let begin = 0;
  runs.forEach((run, i) => {
    const end = begin + run;
    if (i % 2 === 1 && run > 0) {
      // Runs go down the columns.
      let row = begin % height;
      let column = (begin - row) / height;
      for (let at = begin; at < end; at++) {
        values[row * width + column] = 1;
        if (++row === height) {
          row = 0;
          column++;
        }
      }
    }
    begin = end;
  });
  return new NdArray("bool", [height, width], values);
}

// Groups of five bits that the largest difference of two counts takes, and one more.
const MOST_GROUPS = 8;

/** COCO's compressed text: each count in groups of five bits, from the fourth on as the difference to the one two before. */
function cocoRuns(text: string): number[] {
  const runs: number[] = [];
  let number = 0;
  let groups = 0;
  for (let i = 0; i < text.length; i++) {
    const group = text.charCodeAt(i) - 48;
    // Not by shifts, which have 32 bits.
    number += (group & 0x1f) * 32 ** groups++;
    if (group & 0x20 && groups < MOST_GROUPS) {
      continue;
    }
    if (group & 0x10) {
      number -= 32 ** groups;
    }
    if (runs.length > 2) {
      number += runs.at(-2)!;
    }
    runs.push(number);
    number = groups = 0;
  }
  if (groups > 0) {
    throw new Damaged("compressed run lengths are cut off");
  }
  return runs;
}

/** True where a tensor of bits, booleans or numbers is above 0. */
function bitmap(tensor: Tensor): NdArray<"bool"> {
  if (tensor.dtype === DType.BITS || tensor.dtype === DType.BOOL) {
    return decode(tensor, "bool");
  }
  const { shape, data } = floats(tensor);
  const values = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) {
    values[i] = data[i]! > 0 ? 1 : 0;
  }
  return new NdArray("bool", shape, values);
}

/** True where a pixel is not black. */
function pngMask(content: Uint8Array): NdArray<"bool"> {
  let picture: DecodedPng;
  try {
    picture = decodedPng(content);
  } catch (error) {
    throw new Damaged("no PNG of a mask", error);
  }
  const { width, height, channels, depth, data, palette } = picture;
  const lit = palette?.map((colour) => colour.slice(0, 3).some((level) => level > 0));
  // The last of two or four channels is transparency.
  const colours = channels % 2 === 0 ? channels - 1 : channels;
  const stride = depth < 8 ? Math.ceil((width * channels * depth) / 8) : width * channels;
  const values = new Uint8Array(product([height, width]));
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      if (depth < 8) {
        // Several pixels in a byte, the first in its most significant bits.
        const level = (data[row * stride + ((column * depth) >> 3)]! >> (8 - depth - ((column * depth) & 7))) & ((1 << depth) - 1);
        values[at] = (lit === undefined ? level > 0 : lit[level]) ? 1 : 0;
        continue;
      }
      for (let channel = 0; channel < colours; channel++) {
        const level = data[row * stride + column * channels + channel]!;
        values[at]! |= (lit === undefined ? level > 0 : lit[level]) ? 1 : 0;
      }
    }
  }
  return new NdArray("bool", [height, width], values);
}
