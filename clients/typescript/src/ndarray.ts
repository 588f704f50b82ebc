/** The typed array of each kind. A boolean is a byte, 0 or 1. */
export interface Data {
  float32: Float32Array;
  bool: Uint8Array;
  uint8: Uint8Array;
  int8: Int8Array;
  uint16: Uint16Array;
  int64: BigInt64Array;
}

/** What an array holds. */
export type Kind = keyof Data;

/** One element, as {@link NdArray.at} gives it. */
export type Element<K extends Kind> = K extends "bool" ? boolean : K extends "int64" ? bigint : number;

/** An n-dimensional array, row-major. */
export class NdArray<K extends Kind = Kind> {
  constructor(
    /** What it holds. */
    readonly kind: K,
    /** Size of each axis. */
    readonly shape: readonly number[],
    /** The elements; their number is the product of the shape. */
    readonly data: Data[K],
  ) {}

  /** The element at an index, one number for each axis. */
  at(...index: number[]): Element<K> {
    const inside = index.length === this.shape.length && index.every((i, axis) => i >= 0 && i < this.shape[axis]!);
    if (!inside) {
      throw new RangeError(`[${index}] is not in an array of shape [${this.shape}]`);
    }
    const value = this.data[index.reduce((at, i, axis) => at * this.shape[axis]! + i, 0)];
    return (this.kind === "bool" ? value === 1 : value) as Element<K>;
  }

  /** The subarray at an index of the first axis: a view, not a copy. */
  row(i: number): NdArray<K> {
    const shape = this.shape.slice(1);
    const size = product(shape);
    return new NdArray(this.kind, shape, this.data.subarray(i * size, (i + 1) * size) as Data[K]);
  }
}

/** The number of elements of a shape. */
export function product(shape: readonly number[]): number {
  return shape.reduce((size, each) => size * each, 1);
}
