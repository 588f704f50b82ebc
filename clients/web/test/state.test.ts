import assert from "node:assert/strict";
import { test } from "node:test";
import type { Model, State } from "../src/api/server.ts";
import {
  activeOf,
  EMPTY,
  withBox,
  withKept,
  withoutPoint,
  withoutThing,
  withPoint,
  withThing,
} from "../src/state/drawing.ts";
import { begun, done, redone, undone } from "../src/state/history.ts";
import { answering, choices, choose, models, naming, take } from "../src/state/models.ts";
import { Newest } from "../src/state/newest.ts";

const POINT = { x: 3, y: 4, label: 1 } as const;
const RLE = { size: [2, 2], counts: "04" } as const;

test("undo and redo walk through the same values, and a change ends what was to come", () => {
  const history = done(done(begun("a"), "b"), "c");
  assert.equal(undone(history).now, "b");
  assert.equal(undone(undone(undone(history))).now, "a");
  assert.equal(redone(undone(history)).now, "c");
  assert.equal(redone(done(undone(history), "d")).now, "d");
});

test("clicks and boxes go to the active object, one that was kept is left as it is", () => {
  const one = withBox(withPoint(EMPTY, POINT), [0, 0, 5, 5]);
  assert.deepEqual(activeOf(one).points, [POINT]);
  assert.deepEqual(activeOf(one).box, [0, 0, 5, 5]);
  assert.deepEqual(activeOf(withoutPoint(one, 1, 0)).points, []);
  const kept = withKept(one, RLE, 0.9);
  assert.equal(kept.things.length, 2);
  assert.equal(withPoint(kept, POINT).things.length, 3);
});

test("a blank object is taken before another is made, and the last to go leaves a blank one", () => {
  assert.deepEqual(withThing(EMPTY), EMPTY);
  const two = withThing(withPoint(EMPTY, POINT));
  assert.equal(two.active, 2);
  assert.equal(withoutThing(two, 2).active, 1);
  assert.deepEqual(withoutThing(withoutThing(two, 2), 1), EMPTY);
});

test("of questions that come while one is under way only the newest is asked", async () => {
  const asked: number[] = [];
  let answer = () => {};
  const newest = new Newest<number>((question) => {
    asked.push(question);
    return new Promise((resolve) => {
      answer = resolve;
    });
  });
  for (const question of [1, 2, 3]) newest.put(question);
  assert.deepEqual(asked, [1]);
  answer();
  await new Promise(setImmediate);
  assert.deepEqual(asked, [1, 3]);
  newest.put(4);
  newest.clear();
  answer();
  await new Promise(setImmediate);
  assert.deepEqual(asked, [1, 3]);
});

function model(key: string, family: string, available: boolean): Model {
  const options = { name: key };
  return {
    key,
    family,
    available,
    options,
    description: "",
    license: "",
    size_bytes: "0",
    loaded_workers: 0,
  };
}

test("a question names the model that was chosen, and none where the default answers", () => {
  const [small, other, gone, usual] = [
    model("small", "FAMILY_DINO", true),
    model("other", "FAMILY_SAM2", true),
    model("gone", "FAMILY_DINO", false),
    model("usual", "FAMILY_DINO", false),
  ];
  take({
    status: { default_models: [usual] },
    models: { models: [small, other, gone, usual] },
  } as unknown as State);
  assert.deepEqual(choices(models.now, "dino"), [usual, small]);
  assert.equal(answering(models.now, "dino"), usual);
  assert.deepEqual(naming("dino"), {});
  // What is compared by identity is not new with every look at the server.
  assert.equal(naming("dino"), naming("sam2"));
  choose("dino", small);
  assert.deepEqual(naming("dino"), { name: "small" });
  assert.equal(answering(models.now, "dino"), small);
  // Its default is none that the key may use: it may answer all the same, and others can be chosen.
  assert.equal(answering(models.now, "sam2"), undefined);
  choose("sam2", other);
  assert.equal(answering(models.now, "sam2"), other);
  choose("sam2", null);
  assert.deepEqual(naming("sam2"), {});
  choose("dino", usual);
  assert.deepEqual(models.now.chosen, {});
});
