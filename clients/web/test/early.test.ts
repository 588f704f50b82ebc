import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { clear, PICTURE, question, settled } from "./browser.ts";

const { hover, leave, masks } = await import("../src/state/masks.ts");
const { first } = await import("../src/state/opening.ts");
const { session } = await import("../src/state/session.ts");

const ANSWER = { masks: [{ size: [48, 64], counts: "P`1" }], iou_predictions: "" };
const NAMED = { "X-Featsvc-Digest": "name" };
let read = (_: Partial<ImageBitmap>) => {};
let fail = (_: Error) => {};

beforeEach(async () => {
  leave();
  session.set({ picture: null, errors: {} });
  Object.assign(globalThis, {
    createImageBitmap: () =>
      new Promise((resolve, reject) => {
        [read, fail] = [resolve, reject];
      }),
  });
  await clear();
});

const picture = () => session.now.picture;
const open = () => void first.file(new File([PICTURE], "photo.jpg"));
const shown = async () => {
  read({ width: 64, height: 48 });
  await settled();
};

test("a picture is sent while the browser reads it, and only once", async () => {
  open();
  const sending = await question("prompt_mask");
  assert.ok("image" in sending.body);
  assert.equal(picture(), null);
  await shown();
  assert.equal(picture()?.width, 64);
  await sending.answer(ANSWER, NAMED);
  assert.ok(session.now.cost);
  hover(3, 4);
  assert.equal((await question("prompt_mask")).body.image_digest, "name");
});

test("what is refused before the browser has read it stands beside the picture", async () => {
  open();
  await (await question("prompt_mask")).refuse("too large");
  assert.deepEqual(session.now.errors, {});
  await shown();
  assert.deepEqual(session.now.errors, { picture: "too large" });
});

test("what the browser cannot show, or nobody wants to see any more, is given up", async () => {
  open();
  const sending = await question("prompt_mask");
  fail(new Error("no picture"));
  await settled();
  assert.ok(sending.signal?.aborted);
  open();
  const left = await question("prompt_mask");
  first.stop();
  await shown();
  assert.ok(left.signal?.aborted);
});

test("a preview is given up when the pointer leaves, and not asked for before the picture is there", async () => {
  open();
  const sending = await question("prompt_mask");
  await shown();
  hover(3, 4);
  leave();
  await sending.answer(ANSWER, NAMED);
  await assert.rejects(question("prompt_mask"), /nothing was asked/);
  hover(5, 6);
  const asked = await question("prompt_mask");
  leave();
  await settled();
  assert.ok(asked.signal?.aborted);
  assert.equal(masks.now.preview, null);
});
