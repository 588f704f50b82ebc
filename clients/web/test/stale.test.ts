import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import type { Model, State } from "../src/api/server.ts";
import type { Picture } from "../src/state/picture.ts";
import { clear, question } from "./browser.ts";

const { sent } = await import("../src/api/pictures.ts");
const { read } = await import("../src/state/address.ts");
const { EMPTY, withPoint } = await import("../src/state/drawing.ts");
const { finding, findEverything, findNamed, forget } = await import("../src/state/finding.ts");
const { begun } = await import("../src/state/history.ts");
const { prepare } = await import("../src/state/masks.ts");
const { choose, models, take } = await import("../src/state/models.ts");
const { session } = await import("../src/state/session.ts");
const { texts } = await import("../src/state/texts.ts");

const MASK = { segmentation: { size: [2, 2], counts: "04" }, predicted_iou: 0.5 };
const POINT = { x: 3, y: 4, label: 1 } as const;

function picture(digest: string): Picture {
  const made = { name: digest, blob: new Blob(), width: 8, height: 8, gallery: null, url: null } as Picture;
  sent(made.blob, digest);
  return made;
}

const model = (family: string, name: string) =>
  ({ key: name, family, available: true, options: { name } }) as unknown as Model;
const SAM2 = [model("FAMILY_SAM2", "small"), model("FAMILY_SAM2", "large")] as const;
const CLIP = model("FAMILY_CLIP", "other");

beforeEach(async () => {
  take({ status: { default_models: [] }, models: { models: [...SAM2, CLIP] } } as unknown as State);
  models.set({ chosen: {} });
  forget();
  session.set({ picture: picture("one"), drawing: begun(EMPTY), errors: {} });
  await clear();
});

test("what was found by a model that was left is not shown", async () => {
  void findEverything("coarse");
  const asked = await question("auto_mask");
  choose("sam2", SAM2[0]);
  await asked.answer({ masks: [MASK] });
  assert.equal(finding.now.found, null);
  await (await question("prompt_mask")).refuse("");
  texts.set({ texts: ["a"] });
  void findNamed(1);
  const byName = await question("find_objects");
  choose("clip", CLIP);
  await byName.refuse("too many");
  assert.equal(finding.now.found, null);
  assert.equal(session.now.errors.named, undefined);
});

test("of two that are under way the newer one is shown", async () => {
  void findEverything("coarse");
  const older = await question("auto_mask");
  void findEverything("fine_grained");
  await (await question("auto_mask")).answer({ masks: [MASK, MASK] });
  await older.answer({ masks: [MASK] });
  assert.equal(finding.now.found?.regions.length, 2);
});

test("what a model that was left refuses is not said of the next", async () => {
  prepare(session.now.picture!);
  const before = await question("prompt_mask");
  choose("sam2", SAM2[0]);
  await (await question("prompt_mask")).refuse("small is not here");
  assert.equal(session.now.errors.picture, "small is not here");
  choose("sam2", SAM2[1]);
  assert.equal(session.now.errors.picture, undefined);
  await (await question("prompt_mask")).answer({ masks: [], iou_predictions: "" });
  await before.refuse("the default is not here");
  assert.equal(session.now.errors.picture, undefined);
});

test("what is refused about a picture that was left is not said of the next", async () => {
  session.set({ drawing: begun(withPoint(EMPTY, POINT)) });
  const before = await question("prompt_mask");
  session.set({ picture: picture("two"), drawing: begun(EMPTY) });
  await before.refuse("too large");
  assert.equal(session.now.errors.masks, undefined);
});

test("a link that names a model changes nothing else of a question", async () => {
  const others = '{"image_digest":"x","orientation":"stored","preset":"y","mask_encoding":"z","name":"n"}';
  models.set({ chosen: read(`#models={"sam2":${others}}`).models });
  void findEverything("coarse");
  const { body } = await question("auto_mask");
  assert.deepEqual(body, {
    name: "n",
    image_digest: "one",
    orientation: "shown",
    preset: "coarse",
    mask_encoding: "coco_rle",
  });
});
