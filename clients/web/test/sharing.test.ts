import assert from "node:assert/strict";
import { test } from "node:test";
import { type Question as Asked, LANGUAGES, type Surroundings, snippet } from "../src/code/snippets.ts";
import { drawingOf, type Question, read, written } from "../src/state/address.ts";
import { EMPTY, withBox, withKept, withPoint, withThing } from "../src/state/drawing.ts";

const QUESTION: Question = {
  tab: "places",
  picture: "red-circle",
  second: "squares",
  drawing: withBox(withThing(withPoint(EMPTY, { x: 3, y: 4, label: 0 })), [1, 2, 30, 40]),
  texts: { texts: ["a & b", "c#d"], negatives: ["e"], factor: 3, shown: null, size: 448 },
  places: {
    view: "colours",
    facet: "key",
    layer: 5,
    stride: 7,
    size: 224,
    second: null,
    pinned: { x: 1, y: 2 },
  },
  models: { sam2: { model_cfg: "a.yaml" } },
};

test("an address holds all that is asked", () => {
  const told = read(written(QUESTION));
  const { second: _, ...places } = QUESTION.places;
  assert.deepEqual(
    { ...told, things: null },
    {
      tab: "places",
      picture: "red-circle",
      second: "squares",
      things: null,
      active: 2,
      texts: QUESTION.texts,
      places,
      models: QUESTION.models,
    },
  );
  assert.deepEqual(drawingOf(told, 100, 100), QUESTION.drawing);
});

test("what was kept of everything is not in it, nor points on a picture that only this browser has", () => {
  const rle = { size: [2, 2], counts: "04" } as const;
  const kept = { ...QUESTION, drawing: withKept(QUESTION.drawing, rle, 1) };
  assert.equal(drawingOf(read(written(kept)), 100, 100).things.length, 2);
  assert.ok(!written({ ...QUESTION, picture: null }).includes("objects"));
});

test("what is not understood of an address is passed over", () => {
  for (const each of [
    "",
    "#",
    "#tab=x&objects=%7B",
    "#objects=[1,{}]&texts=3&places=[]&active=x",
    "#objects=null",
    '#models={"clip":3,"dino":{"model_type":4},"sam3":{}}',
  ]) {
    const told = read(each);
    assert.equal(told.tab, "masks");
    assert.deepEqual(told.models, {});
    assert.deepEqual(drawingOf(told, 10, 10), EMPTY);
  }
  const outside =
    '#objects=[{"id":1,"name":"a","points":[[5,5,1],[11,5,1],["x",0,1]],"box":[1,2],"choice":"b"}]';
  assert.deepEqual(drawingOf(read(outside), 10, 10).things[0]?.points, [{ x: 5, y: 5, label: 1 }]);
});

const ASKED: Asked = {
  path: "/clip/similarity",
  body: { text: [`it's "$5" \`now\` \\`], softmax: 0 },
  method: "similarity",
  rpc: "ClipService/ComputeSimilarity",
  message: { query: { text: ["a"] } },
};
const THERE: Surroundings = {
  origin: "https://example.org/tools",
  host: "example.org",
  grpcPort: 50051,
  isSecure: true,
  documentedKey: null,
  file: "my photo's.jpg",
  fileAddress: null,
  url: null,
};

test("a key that is a secret stands in no code, and TLS is not left out", () => {
  for (const language of LANGUAGES) {
    assert.match(snippet(language, ASKED, THERE), /FEATSVC_API_KEY/);
  }
  assert.ok(!snippet("grpcurl", ASKED, THERE).includes("-plaintext"));
  assert.match(snippet("Python", ASKED, THERE), /ssl_channel_credentials/);
});

test("what means something to a shell is escaped", () => {
  const code = snippet("curl", ASKED, THERE);
  assert.ok(code.includes(`base64 < 'my photo'\\''s.jpg'`));
  assert.ok(code.includes(String.raw`it's \\"\$5\\" \`now\` \\\\`), code);
});

test("a picture that the server has fetched is named by its address in every language", () => {
  const url = "https://example.com/a$b.jpg?c=d&e='f'";
  for (const language of LANGUAGES) {
    const code = snippet(language, ASKED, { ...THERE, url });
    assert.ok(code.includes(language.includes("url") ? url.replace("$", "\\$") : url), code);
    assert.ok(!code.includes("base64"), code);
  }
});
