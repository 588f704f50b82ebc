import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { clear, follow, PICTURE, question } from "./browser.ts";

const { begin, link } = await import("../src/state/following.ts");
const { closeSecond, first, second } = await import("../src/state/opening.ts");
const { linkOf } = await import("../src/state/picture.ts");
const { places } = await import("../src/state/places.ts");
const { session, setKey } = await import("../src/state/session.ts");
const { read } = await import("../src/state/address.ts");

const ADDRESS = "https://example.org/a.jpg";
const OBJECTS = '&objects=[{"id":1,"name":"ear","points":[[5,6,1]],"box":null,"choice":null}]';
const SLOW = `#picture=${ADDRESS}${OBJECTS}&places={"facet":"key","pinned":{"x":1,"y":2}}&second=squares`;
const DRAWN = [{ x: 5, y: 6, label: 1 }];

const drawn = () => session.now.drawing.now.things[0]!.points;
const shown = () => session.now.picture && linkOf(session.now.picture);

begin();
beforeEach(async () => {
  first.stop();
  second.stop();
  session.set({ picture: null, errors: {} });
  places.set({ second: null, facet: "token", pinned: null });
  await clear();
});

test("a link that was left changes nothing of the newer one", async () => {
  await follow(SLOW);
  const [slow, other] = [await question("/picture?"), await question("squares")];
  await follow('#picture=cat&places={"facet":"value"}');
  await (await question("cat")).answer(PICTURE);
  await slow.answer(PICTURE);
  await other.answer(PICTURE);
  assert.equal(shown(), "cat");
  assert.deepEqual(drawn(), []);
  assert.equal(places.now.facet, "value");
  assert.equal(places.now.pinned, null);
  assert.equal(places.now.second, null);
});

test("one that is left for the picture that is shown opens nothing later", async () => {
  void first.link("cat");
  await (await question("cat")).answer(PICTURE);
  await follow(SLOW);
  const slow = await question("/picture?");
  await follow(`#picture=cat${OBJECTS}`);
  await slow.answer(PICTURE);
  assert.equal(shown(), "cat");
  assert.deepEqual(drawn(), DRAWN);
});

test("a link keeps picture, drawing and place while they are on their way, and when they cannot be had", async () => {
  await follow(`#tab=places${SLOW.replace("#", "&")}`);
  const kept = () => {
    const { picture, second, things, places } = read(link());
    assert.deepEqual([picture, second, places.pinned], [ADDRESS, "squares", { x: 1, y: 2 }]);
    assert.deepEqual((things as { points: unknown }[])[0]!.points, [[5, 6, 1]]);
  };
  kept();
  await (await question("/picture?")).refuse("not public");
  await (await question("squares")).refuse("gone");
  assert.equal(session.now.errors.opening, "not public");
  kept();
  first.again();
  assert.equal(second.again(), true);
  await (await question("/picture?")).answer(PICTURE);
  await (await question("squares")).answer(PICTURE);
  assert.deepEqual(session.now.errors, {});
  assert.deepEqual(drawn(), DRAWN);
  assert.deepEqual(places.now.pinned, { x: 1, y: 2 });
  assert.equal(second.again(), false);
  kept();
});

test("another picture that is opened ends the waiting for that of a link", async () => {
  await follow(SLOW);
  await (await question("/picture?")).refuse("not public");
  void first.link("cat");
  await (await question("cat")).answer(PICTURE);
  assert.equal(read(link()).picture, "cat");
  assert.deepEqual(drawn(), []);
});

test("what a wrong key did not open is opened with the next", async () => {
  await follow(SLOW);
  await (await question("/picture?")).refuse("key wrong");
  setKey("right");
  await (await question("/picture?")).answer(PICTURE);
  assert.deepEqual(drawn(), DRAWN);
});

test("of second pictures the newest is shown, and none after it was closed", async () => {
  void second.link("squares");
  const slow = await question("squares");
  void second.link("coffee");
  await (await question("coffee")).answer(PICTURE);
  await slow.answer(PICTURE);
  assert.equal(places.now.second?.gallery, "coffee");
  void second.link("squares");
  closeSecond();
  await (await question("squares")).answer(PICTURE);
  assert.equal(places.now.second, null);
});
