/** float16 as bytes to float32: by a table of all 65,536 of them, for there are millions to read. */

let table: Float32Array | undefined;

function value(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

/** The values of little-endian float16. */
export function fromHalves(bytes: ArrayBuffer): Float32Array {
  table ??= Float32Array.from({ length: 65536 }, (_, half) => value(half));
  const halves = new Uint16Array(bytes);
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) values[i] = table[halves[i]!]!;
  return values;
}
