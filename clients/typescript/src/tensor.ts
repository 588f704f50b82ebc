import { Damaged } from "./damaged.js";
import type { ObjectVectors } from "./gen/featsvc/v1/objects_pb.js";
import { DType, type Rounding, type Tensor } from "./gen/featsvc/v1/tensor_pb.js";
import { NdArray, product, type Data, type Kind } from "./ndarray.js";
import { bfloats, halves, little, unpacked } from "./numbers.js";

/** The reply of CLIP or DINO with dense features. */
export interface FeatureReply {
  features?: Tensor | undefined;
  rounding?: Rounding | undefined;
}

const ELEMENT_BYTES: Partial<Record<DType, number>> = {
  [DType.FLOAT32]: 4,
  [DType.FLOAT16]: 2,
  [DType.BFLOAT16]: 2,
  [DType.UINT8]: 1,
  [DType.INT64]: 8,
  [DType.BOOL]: 1,
  [DType.BITS]: 1,
  [DType.INT8]: 1,
  [DType.UINT16]: 2,
};

type Decoder = (data: Uint8Array, shape: readonly number[]) => Data[Kind];

/** What each element type becomes. */
const DECODERS: Partial<Record<DType, readonly [Kind, Decoder]>> = {
  [DType.FLOAT32]: ["float32", (data) => little(data, Float32Array)],
  [DType.FLOAT16]: ["float32", (data) => halves(little(data, Uint16Array))],
  [DType.BFLOAT16]: ["float32", (data) => bfloats(little(data, Uint16Array))],
  [DType.UINT8]: ["uint8", (data) => data],
  [DType.INT64]: ["int64", (data) => little(data, BigInt64Array)],
  [DType.BOOL]: ["bool", (data) => Uint8Array.from(data, (each) => (each === 0 ? 0 : 1))],
  [DType.BITS]: ["bool", (data, shape) => unpacked(data, shape.at(-1) ?? 1, product(shape))],
  [DType.INT8]: ["int8", (data) => little(data, Int8Array)],
  [DType.UINT16]: ["uint16", (data) => little(data, Uint16Array)],
};

/** The dense features of a reply as float32, of whatever type they were sent. */
export function features(reply: FeatureReply): NdArray<"float32"> {
  return restored(reply.features, reply.rounding);
}

/** The vectors of all objects in one way as float32, objects x channels, of whatever type they were sent. */
export function vectors(way: ObjectVectors): NdArray<"float32"> {
  return restored(way.vectors, way.rounding);
}

function restored(tensor: Tensor | undefined, rounding: Rounding | undefined): NdArray<"float32"> {
  return tensor?.dtype === DType.INT8 ? scaled(tensor, rounding?.scale) : floats(tensor);
}

/** The elements of a tensor of any number type as float32. */
export function floats(tensor: Tensor | undefined): NdArray<"float32"> {
  const found = decode(tensor);
  switch (found.kind) {
    case "float32":
      return found as NdArray<"float32">;
    case "bool":
      throw new Damaged("booleans are no numbers");
    case "int64":
      return new NdArray("float32", found.shape, Float32Array.from(found.data as BigInt64Array, rounded));
    default:
      return new NdArray("float32", found.shape, Float32Array.from(found.data as Uint8Array | Int8Array | Uint16Array));
  }
}

/**
 * The elements of a tensor, float16 and bfloat16 as float32, bits as booleans; throws where they are not of the kind that
 * is given. Where nothing need be converted, they are those of the message and not a copy.
 */
export function decode(tensor: Tensor | undefined): NdArray;
export function decode<K extends Kind>(tensor: Tensor | undefined, kind: K): NdArray<K>;
export function decode(tensor: Tensor | undefined, kind?: Kind): NdArray {
  const { shape, size } = layout(tensor);
  const { dtype, data } = tensor!;
  const [found, decoder] = DECODERS[dtype]!;
  if (data.length !== size) {
    throw new Damaged(`${data.length} bytes, but ${DType[dtype]} of shape [${shape}] takes ${size}`);
  }
  if (kind !== undefined && kind !== found) {
    throw new Damaged(`a tensor of ${DType[dtype]} is no array of ${kind}`);
  }
  return new NdArray(found, shape, decoder(data, shape));
}

/** Integers times the factor of their channel: of the last axis, or of the first where the factors' shape says so. */
function scaled(tensor: Tensor, factors: Tensor | undefined): NdArray<"float32"> {
  const { shape, data } = decode(tensor, "int8");
  const scale = decode(factors, "float32");
  // How many elements in a row share a factor: channels x 1 x 1 stands before, channels beside the last axis.
  const first = scale.shape.length === shape.length && shape.length > 1 && scale.shape[0] !== 1;
  const [channels, each] = first ? [shape[0], product(shape.slice(1))] : [shape.at(-1), 1];
  if (channels !== scale.data.length) {
    throw new Damaged(`${scale.data.length} factors for features of shape [${shape}]`);
  }
  const values = new Float32Array(data.length);
  for (let at = 0; at < values.length; ) {
    for (const factor of scale.data) {
      // The product is exact in float64; storing it rounds once, as a float32 multiplication does.
      for (const end = at + each; at < end; at++) {
        values[at] = data[at]! * factor;
      }
    }
  }
  return new NdArray("float32", shape, values);
}

/** The shape of a tensor, and the length of its data in bytes. */
export function layout(tensor: Tensor | undefined): { shape: number[]; size: number } {
  if (tensor === undefined) {
    throw new Damaged("no tensor");
  }
  const width = ELEMENT_BYTES[tensor.dtype];
  if (width === undefined) {
    throw new Damaged(`a tensor of the unknown element type ${tensor.dtype}`);
  }
  const shape = [...tensor.shape];
  const stored = [...shape];
  if (tensor.dtype === DType.BITS && stored.length > 0) {
    stored.push(Math.ceil(stored.pop()! / 8));
  }
  const size = width * product(stored);
  if (!Number.isSafeInteger(size)) {
    throw new Damaged(`a tensor of shape [${shape}]`);
  }
  return { shape, size };
}

/** The float32 nearest to an int64: numbers beyond float64 are cut so that they are not rounded twice. */
function rounded(value: bigint): number {
  const low = value & 2047n;
  const exact = Number.isSafeInteger(Number(value)) || low === 0n;
  return Number(exact ? value : (value - low) | 2048n);
}
