const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

interface Typed<T> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBuffer, offset: number, length: number): T;
}

/** Little-endian bytes as numbers: a view where they lie as the machine wants them, else a copy. */
export function little<T>(bytes: Uint8Array, type: Typed<T>): T {
  const width = type.BYTES_PER_ELEMENT;
  let { buffer, byteOffset } = bytes;
  if (byteOffset % width !== 0 || (width > 1 && !LITTLE_ENDIAN)) {
    const copy = Uint8Array.from(bytes);
    if (!LITTLE_ENDIAN) {
      for (let at = 0; at < copy.length; at += width) {
        copy.subarray(at, at + width).reverse();
      }
    }
    ({ buffer, byteOffset } = copy);
  }
  return new type(buffer as ArrayBuffer, byteOffset, bytes.length / width);
}

/** The float32 equal to each IEEE 754 binary16. */
export function halves(from: Uint16Array): Float32Array {
  const values = new Float32Array(from.length);
  // Written as bits, because numbers on their way through a variable may lose the bits of a NaN.
  const bits = new Uint32Array(values.buffer);
  for (let i = 0; i < from.length; i++) {
    const half = from[i]!;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0) {
      // Zero and subnormals: the fraction counts in units of 2^-24, which float32 has exactly.
      const value = fraction * 2 ** -24;
      values[i] = half & 0x8000 ? -value : value;
    } else {
      bits[i] = ((half & 0x8000) << 16) | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
    }
  }
  return values;
}

/** The float32 whose upper half each number is. */
export function bfloats(from: Uint16Array): Float32Array {
  const bits = new Uint32Array(from.length);
  for (let i = 0; i < from.length; i++) {
    bits[i] = from[i]! << 16;
  }
  return new Float32Array(bits.buffer);
}

/** Bits as bytes of 0 or 1: most significant first, each row of so many columns from a new byte. */
export function unpacked(packed: Uint8Array, columns: number, size: number): Uint8Array {
  const values = new Uint8Array(size);
  const stride = Math.ceil(columns / 8);
  for (let at = 0, row = 0; at < size; row += stride) {
    for (let column = 0; column < columns; column++, at++) {
      values[at] = (packed[row + (column >> 3)]! >> (7 - (column & 7))) & 1;
    }
  }
  return values;
}
