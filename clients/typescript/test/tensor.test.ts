import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Damaged, decode, features, floats, NdArray } from "featsvc/arrays";
import { DinoServiceExtractFeaturesResponseSchema, DType, TensorSchema, type Tensor } from "featsvc/messages";

export function tensor(dtype: DType, data: readonly number[], ...shape: number[]): Tensor {
  // One byte in, so that no wider number lies as the machine wants it.
  const bytes = Uint8Array.from([0, ...data]).subarray(1);
  return create(TensorSchema, { dtype, shape, data: bytes });
}

function reply(init: MessageInitShape<typeof DinoServiceExtractFeaturesResponseSchema>) {
  return create(DinoServiceExtractFeaturesResponseSchema, init);
}

test("every element type becomes a typed array", () => {
  const row = [
    [tensor(DType.FLOAT32, [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], 2), "float32", Float32Array.of(1, -2)],
    [tensor(DType.BFLOAT16, [0x80, 0x3f, 0, 0xc0], 2), "float32", Float32Array.of(1, -2)],
    [tensor(DType.FLOAT16, [0, 0x3c, 0, 0xc0], 2), "float32", Float32Array.of(1, -2)],
    [tensor(DType.UINT8, [0, 255], 2), "uint8", Uint8Array.of(0, 255)],
    [tensor(DType.INT8, [127, 128], 2), "int8", Int8Array.of(127, -128)],
    [tensor(DType.UINT16, [1, 0, 0, 0xff], 2), "uint16", Uint16Array.of(1, 0xff00)],
    [tensor(DType.INT64, [0xfe, 255, 255, 255, 255, 255, 255, 255], 1), "int64", BigInt64Array.of(-2n)],
    [tensor(DType.BOOL, [0, 1, 2], 3), "bool", Uint8Array.of(0, 1, 1)],
    // Ten columns take two bytes a row, most significant bit first.
    [
      tensor(DType.BITS, [0x80, 0x40, 0, 0x80], 2, 10),
      "bool",
      Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0),
    ],
  ] as const;
  for (const [from, kind, expected] of row) {
    assert.deepEqual(decode(from, kind).data, expected, DType[from.dtype]);
    assert.equal(decode(from).kind, kind);
  }
});

test("numbers of every type become float32", () => {
  assert.deepEqual(floats(tensor(DType.INT8, [127, 128], 2)).data, Float32Array.of(127, -128));
  assert.deepEqual(floats(tensor(DType.UINT16, [1, 0, 0, 0xff], 2)).data, Float32Array.of(1, 0xff00));
  // 2^60 + 2^36 + 1 lies just above the middle of two float32: rounded to float64 first, it would go down to 2^60.
  const bytes = [...new Uint8Array(BigInt64Array.of(2n ** 60n + 2n ** 36n + 1n, -7n).buffer)];
  assert.deepEqual(floats(tensor(DType.INT64, bytes, 2)).data, Float32Array.of(2 ** 60 + 2 ** 37, -7));
});

test("half precision is widened exactly", () => {
  const halves = [0, 0, 0, 0x80, 0, 0x3c, 0xff, 0x7b, 1, 0, 0xff, 3, 0, 4, 1, 0x80, 0, 0x7c, 0, 0xfc, 1, 0x7e];
  const expected = [0, -0, 1, 65504, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, -(2 ** -24), Infinity, -Infinity, NaN];
  const { data } = floats(tensor(DType.FLOAT16, halves, expected.length));
  expected.forEach((each, i) => assert.ok(Object.is(data[i], each), `${data[i]} instead of ${each}`));
  assert.equal(new Uint32Array(data.buffer)[10], 0x7fc02000);
});

test("integers are multiplied by the scale of their channel", () => {
  const factors = [0, 0, 0, 0x40, 0, 0, 0x40, 0x40]; // 2 and 3
  const last = reply({
    features: tensor(DType.INT8, [1, 1, 255, 255], 2, 1, 2),
    rounding: { scale: tensor(DType.FLOAT32, factors, 2) },
  });
  assert.deepEqual(features(last).data, Float32Array.of(2, 3, -2, -3));
  const first = reply({
    features: tensor(DType.INT8, [1, 255, 1, 255], 2, 1, 2),
    rounding: { scale: tensor(DType.FLOAT32, factors, 2, 1, 1) },
  });
  assert.deepEqual(features(first).data, Float32Array.of(2, -2, 3, -3));
  assert.throws(() => features(reply({ features: tensor(DType.INT8, [1], 1) })), Damaged);
});

test("a tensor that does not fit its shape is an error", () => {
  const zeros = (count: number) => new Array<number>(count).fill(0);
  for (const bad of [
    tensor(DType.FLOAT32, zeros(7), 2),
    tensor(DType.FLOAT32, zeros(9), 2),
    tensor(99 as DType, []),
    tensor(DType.FLOAT32, [], 2 ** 31, 2 ** 31, 2 ** 31),
    undefined,
  ]) {
    assert.throws(() => floats(bad), Damaged);
  }
  assert.throws(() => decode(tensor(DType.UINT8, [1], 1), "bool"), Damaged);
});

test("an array is read by index and by row", () => {
  const array = new NdArray("uint8", [2, 3], Uint8Array.of(1, 2, 3, 4, 5, 6));
  assert.equal(array.at(1, 2), 6);
  assert.deepEqual([...array.row(1).data], [4, 5, 6]);
  assert.throws(() => array.at(0, 3), RangeError);
  assert.throws(() => array.at(0), RangeError);
  assert.strictEqual(new NdArray("bool", [1], Uint8Array.of(1)).at(0), true);
});
