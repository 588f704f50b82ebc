import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { bytes, connected, refusal, type Masks, type Out } from "./server.js";

type Piece = readonly [offset: number, ...data: number[]];

/** Sends the head of a tensor of so many bytes, then the pieces. */
function send(to: Out, size: number, pieces: readonly Piece[]): void {
  const head = bytes();
  to.write({ part: { case: "reply", value: { features: { ...head.features, shape: [1, 1, size] } } } });
  for (const [offset, ...data] of pieces) {
    to.write({ part: { case: "chunk", value: { offset: BigInt(offset), data: Uint8Array.from(data) } } });
  }
}

function sent(to: Out, size: number, pieces: readonly Piece[]): void {
  send(to, size, pieces);
  to.end();
}

test("pieces are joined to one tensor", async () => {
  await connected({ chunked: (to) => sent(to, 5, [[0, 1, 2, 3], [3, 4, 5]]) }, async (client) => {
    const { features } = await client.dinoFeatures({});
    assert.deepEqual([...features!.data], [1, 2, 3, 4, 5]);
  });
});

test("a small answer comes in one message", async () => {
  const chunked = (to: Out) => {
    to.write({ part: { case: "reply", value: bytes(8, 9) } });
    to.end();
  };
  await connected({ chunked }, async (client) => {
    const { features } = await client.dinoFeatures({});
    assert.deepEqual([...features!.data], [8, 9]);
  });
});

test("an answer with missing pieces is an error", async () => {
  const bad: Piece[][] = [[], [[0, 1, 2]], [[0, 1], [3, 4, 5]], [[0, 1, 2, 3, 4, 5, 6]]];
  for (const pieces of bad) {
    await connected({ chunked: (to) => sent(to, 5, pieces) }, async (client) => {
      await assert.rejects(client.dinoFeatures({}), { name: "FeatsvcError", code: "INTERNAL" });
    });
  }
  await connected({ chunked: (to) => to.end() }, async (client) => {
    await assert.rejects(client.dinoFeatures({}), { code: "INTERNAL" });
  });
});

test("an answer that breaks off is asked for again", async () => {
  let attempts = 0;
  const chunked = (to: Out) => {
    if (++attempts === 1) {
      send(to, 2, [[0, 9]]);
      to.emit("error", refusal(status.UNAVAILABLE));
    } else {
      sent(to, 2, [[0, 1], [1, 2]]);
    }
  };
  await connected({ chunked }, async (client) => {
    const { features } = await client.dinoFeatures({});
    assert.deepEqual([...features!.data], [1, 2]);
    assert.equal(attempts, 2);
  });
});

test("many pieces arrive whole while their reader is slow", async () => {
  const count = 100;
  const chunked = (to: Out) => sent(to, count, Array.from({ length: count }, (_, i): Piece => [i, i]));
  await connected({ chunked }, async (client) => {
    let seen = 0;
    for await (const { part } of client.dino.extractFeaturesChunked({})) {
      await new Promise(setImmediate);
      assert.equal(part.case === "chunk" ? Number(part.value.offset) : -1, seen++ - 1);
    }
    assert.equal(seen, count + 1);
  });
});

test("masks of a stream and its summary become one reply", async () => {
  let attempts = 0;
  const masks = (to: Masks) => {
    to.write({ part: { case: "mask", value: { area: 1 } } });
    if (++attempts === 1) {
      to.emit("error", refusal(status.UNAVAILABLE));
      return;
    }
    to.write({ part: { case: "mask", value: { area: 2 } } });
    to.write({ part: { case: "summary", value: { count: 2, height: 3, width: 4, model: "m" } } });
    to.end();
  };
  await connected({ masks }, async (client) => {
    const reply = await client.generateMasks({});
    assert.deepEqual(reply.masks.map(({ area }) => area), [1, 2]);
    assert.deepEqual([reply.height, reply.width, reply.model], [3, 4, "m"]);
    assert.equal(reply.$typeName, "featsvc.v1.GenerateMasksResponse");
  });
});

test("masks without their summary are an error", async () => {
  await connected({ masks: (to) => to.end() }, async (client) => {
    await assert.rejects(client.generateMasks({}), { code: "INTERNAL" });
  });
});
