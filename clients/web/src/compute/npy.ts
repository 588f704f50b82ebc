/** Arrays as NumPy files: numpy/lib/format, version 1.0. */

export type Dtype = "<f4" | "<f2" | "<u2" | "|u1";

/** A file of this shape, row-major, whose elements are in `bytes`. */
export function npy(dtype: Dtype, shape: readonly number[], bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const text = `{'descr': '${dtype}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The elements begin at a multiple of 64 bytes, and the header ends with a line feed.
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const file = new Uint8Array(10 + length + bytes.length);
  file.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 0xff, length >> 8]);
  file.fill(0x20, 10, 10 + length);
  for (let i = 0; i < text.length; i++) file[10 + i] = text.charCodeAt(i);
  file[10 + length - 1] = 0x0a;
  file.set(bytes, 10 + length);
  return file;
}
