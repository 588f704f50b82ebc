import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { deflateSync } from "node:zlib";
import { Damaged, mask, promptMasks, runLengths } from "featsvc/arrays";
import { DType, MaskSchema, PromptMasksSchema, RleSchema, TensorSchema } from "featsvc/messages";

// The mask of all forms below: its runs go down the columns.
const SHAPE = [2, 3];
const PIXELS = [0, 1, 0, 1, 1, 0];
const RUNS = [1, 3, 2];

type RleInit = MessageInitShape<typeof RleSchema>;

function lengths(height: number, width: number, ...counts: number[]): RleInit {
  return { height, width, runs: { case: "lengths", value: { counts } } };
}

function coco(height: number, width: number, text: string): RleInit {
  return { height, width, runs: { case: "coco", value: text } };
}

function tensor(dtype: DType, data: number[], ...shape: number[]) {
  return create(TensorSchema, { dtype, shape, data: Uint8Array.from(data) });
}

/** A PNG file of rows that are packed as its depth and colour type say. */
function png(depth: number, colourType: number, rows: number[][], palette: number[] = []): Uint8Array {
  const chunk = (type: string, content: Uint8Array | number[]) => {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(content.length);
    // The checksum is not looked at.
    return [size, Buffer.from(type), Buffer.from(content), Buffer.alloc(4)];
  };
  const [height, width] = SHAPE as [number, number];
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    ...chunk("IHDR", [0, 0, 0, width, 0, 0, 0, height, depth, colourType, 0, 0, 0]),
    ...(palette.length > 0 ? chunk("PLTE", palette) : []),
    ...chunk("IDAT", deflateSync(Buffer.from(rows.flatMap((row) => [0, ...row])))),
    ...chunk("IEND", []),
  ]);
}

const FILE = png(1, 0, [[0x40], [0xc0]]);

test("every form of a mask gives its pixels", () => {
  const forms: MessageInitShape<typeof MaskSchema>["segmentation"][] = [
    { case: "bitmap", value: tensor(DType.BITS, [0x40, 0xc0], 2, 3) },
    { case: "bitmap", value: tensor(DType.UINT8, [0, 9, 0, 1, 1, 0], 2, 3) },
    { case: "bitmap", value: tensor(DType.BOOL, PIXELS, 2, 3) },
    { case: "rle", value: create(RleSchema, lengths(2, 3, ...RUNS)) },
    { case: "rle", value: create(RleSchema, coco(2, 3, "132")) },
    { case: "png", value: FILE },
    { case: "png", value: png(8, 0, [[0, 255, 0], [255, 1, 0]]) },
    { case: "png", value: png(8, 4, [[0, 255, 255, 255, 0, 255], [255, 255, 1, 0, 0, 255]]) },
    { case: "png", value: png(1, 3, [[0xa0], [0x20]], [255, 255, 255, 0, 0, 0]) },
    { case: "png", value: png(8, 3, [[1, 0, 1], [0, 0, 1]], [0, 0, 9, 0, 0, 0]) },
  ];
  forms.forEach((segmentation, i) => {
    const found = mask(create(MaskSchema, { segmentation: segmentation! }));
    assert.equal(found.kind, "bool");
    assert.deepEqual([found.shape, [...found.data]], [SHAPE, PIXELS], `form ${i}`);
  });
});

test("masks of a prompt are stacked", () => {
  for (const form of [
    { masks: tensor(DType.BITS, [0x40, 0xc0, 0x40, 0xc0], 2, 2, 3) },
    { rle: [lengths(2, 3, ...RUNS), lengths(2, 3, ...RUNS)] },
    { png: [FILE, FILE] },
  ]) {
    const found = promptMasks(create(PromptMasksSchema, form as MessageInitShape<typeof PromptMasksSchema>));
    assert.deepEqual(found.shape, [2, ...SHAPE]);
    assert.deepEqual([...found.row(1).data], PIXELS);
  }
  assert.throws(() => promptMasks(create(PromptMasksSchema)), Damaged);
  assert.throws(() => promptMasks(create(PromptMasksSchema, { rle: [lengths(2, 3, 6), lengths(3, 2, 6)] })), Damaged);
});

test("long and shrinking runs are read from COCO's text", () => {
  // As pycocotools writes the runs 1000, 2000, 3000, 500, 40: the fourth is -1500 beside the second.
  const found = runLengths(create(RleSchema, coco(1, 6540, "Xo0`n1hm2TaN`SM")));
  const expected = [1000, 2000, 3000, 500, 40].flatMap((run, i) => new Array<number>(run).fill(i % 2));
  assert.deepEqual([...found.data], expected);
});

test("a mask that does not fit its size is an error", () => {
  assert.equal(runLengths(create(RleSchema, lengths(0, 3, 0, 0))).data.length, 0);
  for (const bad of [
    lengths(2, 3, 1, 2), lengths(2, 3, 1, 9), coco(2, 3, "13R"), { height: 2, width: 3 }, coco(2, 3, "1O"),
    coco(2, 3, "oooooooooooooooooooo0"),
  ]) {
    assert.throws(() => runLengths(create(RleSchema, bad as RleInit)), Damaged);
  }
  assert.throws(() => mask(create(MaskSchema)), Damaged);
  const segmentation = { case: "png" as const, value: Uint8Array.from(Buffer.from("no file")) };
  assert.throws(() => mask(create(MaskSchema, { segmentation })), Damaged);
});
