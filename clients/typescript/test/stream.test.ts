import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { picture, type Client, type Picture, type StreamOptions } from "featsvc";
import { bytes, connected, QUICK, refusal, type Both, type StreamRequest } from "./server.js";

type Asked = [string, { image: Picture }];

/** Questions with the names q0, q1 and so on. */
function* numbered(count: number): Generator<Asked> {
  for (let i = 0; i < count; i++) {
    yield [`q${i}`, { image: picture(Uint8Array.of(i)) }];
  }
}

function contentOf(asked: StreamRequest): Uint8Array {
  return asked.request!.image!.source.value as Uint8Array;
}

function answer(to: Both, asked: StreamRequest): void {
  const outcome = { case: "response", value: bytes(...contentOf(asked)) } as const;
  to.write({ requestId: asked.requestId, outcome, timing: { batchSize: 2 } });
}

function refuse(to: Both, { requestId }: StreamRequest, code: string, retryAfterMs = 0): void {
  to.write({ requestId, outcome: { case: "error", value: { code, retryAfterMs } } });
}

/** Acts on every question until the client has ended. */
function each(act: (to: Both, asked: StreamRequest) => void): (to: Both) => void {
  return (to) => {
    to.on("data", (asked: StreamRequest) => act(to, asked));
    to.on("end", () => to.end());
    to.on("error", () => {});
  };
}

/** The answers by name: the first byte of each, or the code of its error. */
async function collected(client: Client, count: number, options: StreamOptions): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>();
  for await (const { id, reply, timing, error } of client.streamDinoFeatures(numbered(count), options)) {
    assert.ok(!found.has(id), `${id} came twice`);
    assert.equal(timing?.batchSize, error === undefined ? 2 : undefined);
    found.set(id, error === undefined ? reply!.features!.data[0] : error.code);
  }
  return found;
}

function wholeAndRight(found: Map<string, unknown>, count: number): void {
  assert.equal(found.size, count);
  found.forEach((value, id) => assert.equal(`q${value}`, id));
}

test("every question gets its own answer in any order", async () => {
  let held: StreamRequest | undefined;
  const stream = each((to, asked) => {
    if (held === undefined) {
      held = asked;
      return;
    }
    // The later one first.
    answer(to, asked);
    answer(to, held);
    held = undefined;
  });
  await connected({ stream }, async (client) => wholeAndRight(await collected(client, 10, { window: 4 }), 10));
});

test("no more questions are under way than the window holds", async () => {
  const window = 3;
  const waiting: StreamRequest[] = [];
  let most = 0;
  const stream = each((to, asked) => {
    most = Math.max(most, waiting.push(asked));
    if (waiting.length === window) {
      answer(to, waiting.shift()!);
    }
  });
  await connected({ stream }, async (client) => {
    let seen = 0;
    for await (const { error } of client.streamDinoFeatures(numbered(20), { window })) {
      assert.equal(error, undefined);
      // The server keeps the last two for ever.
      if (++seen === 20 - window + 1) {
        break;
      }
    }
    assert.equal(seen, 20 - window + 1);
    assert.equal(most, window);
  });
});

test("large questions and answers do not wait for each other", async () => {
  // More than flow control lets either side send ahead.
  const large = { image: picture(new Uint8Array(12 << 20)) };
  let pair: StreamRequest[] = [];
  const stream = (to: Both) => {
    each((_, asked) => {
      pair.push(asked);
      if (pair.length === 2) {
        // Reads no further question before two answers are out.
        to.pause();
        const [one, two] = pair.splice(0) as [StreamRequest, StreamRequest];
        const value = { features: { ...bytes().features, data: contentOf(one) } };
        to.write({ requestId: one.requestId, outcome: { case: "response", value } });
        to.write({ requestId: two.requestId, outcome: { case: "response", value } }, () => to.resume());
      }
    })(to);
  };
  await connected({ stream }, async (client) => {
    let seen = 0;
    const questions = (function* (): Generator<[string, typeof large]> {
      for (;;) {
        yield ["", large];
      }
    })();
    for await (const { error } of client.streamDinoFeatures(questions, { window: 6, timeoutMs: 60_000 })) {
      assert.equal(error, undefined);
      if (++seen === 12) {
        break;
      }
    }
  });
});

test("a bad question fails alone", async () => {
  const stream = each((to, asked) => (contentOf(asked)[0] === 1 ? refuse(to, asked, "INVALID_ARGUMENT") : answer(to, asked)));
  await connected({ stream }, async (client) => {
    const found = await collected(client, 3, { window: 2 });
    assert.deepEqual([...found].sort(), [["q0", 0], ["q1", "INVALID_ARGUMENT"], ["q2", 2]]);
  });
});

test("a question that the server has no place for is asked again", async () => {
  const refused = new Map<string, number>();
  const stream = each((to, asked) => {
    const times = refused.get(asked.requestId) ?? 0;
    refused.set(asked.requestId, times + 1);
    if (times < 7) {
      refuse(to, asked, "RESOURCE_EXHAUSTED", 2);
    } else {
      answer(to, asked);
    }
  });
  await connected({ stream }, async (client) => wholeAndRight(await collected(client, 5, { window: 2 }), 5));
});

test("an answer over the limit is not asked for again", async () => {
  let attempts = 0;
  const stream = each((to, asked) => {
    attempts++;
    refuse(to, asked, "RESOURCE_EXHAUSTED");
  });
  await connected({ stream }, async (client) => {
    assert.deepEqual([...(await collected(client, 1, { window: 1 }))], [["q0", "RESOURCE_EXHAUSTED"]]);
    assert.equal(attempts, 1);
  });
});

test("a question that fails for a reason is not asked again", async () => {
  let attempts = 0;
  const stream = each((to, { requestId }) => {
    attempts++;
    to.write({ requestId, outcome: { case: "error", value: { code: "UNAVAILABLE", reason: "killed-workers" } } });
  });
  await connected({ stream }, async (client) => {
    assert.deepEqual([...(await collected(client, 1, { window: 1 }))], [["q0", "UNAVAILABLE"]]);
    assert.equal(attempts, 1);
  });
});

test("a stream that breaks goes on with what waits", async () => {
  let streams = 0;
  const stream = (to: Both) => {
    streams++;
    let count = 0;
    each((_, asked) => {
      if (++count > 3) {
        to.emit("error", refusal(status.UNAVAILABLE));
      } else {
        answer(to, asked);
      }
    })(to);
  };
  await connected({ stream }, async (client) => wholeAndRight(await collected(client, 20, { window: 4 }), 20));
  assert.ok(streams > 1);
});

test("a stream that the server ends early goes on too", async () => {
  const stream = (to: Both) => {
    to.once("data", (asked: StreamRequest) => {
      answer(to, asked);
      to.end();
    });
  };
  await connected({ stream }, async (client) => wholeAndRight(await collected(client, 6, { window: 3 }), 6));
});

test("a server that has answered is waited for until the deadline", async () => {
  let streams = 0;
  const stream = (to: Both) => {
    if (++streams > 1 && streams < 3 * QUICK.attempts) {
      to.emit("error", refusal(status.UNAVAILABLE));
      return;
    }
    to.once("data", (asked: StreamRequest) => {
      answer(to, asked);
      to.end();
    });
  };
  await connected({ stream }, async (client) => {
    wholeAndRight(await collected(client, 2, { window: 1, timeoutMs: 60_000 }), 2);
    assert.equal(streams, 3 * QUICK.attempts);
  });
});

test("a stream that never answers ends with its error", async () => {
  let streams = 0;
  const stream = (to: Both) => {
    streams++;
    to.emit("error", refusal(status.UNAVAILABLE));
  };
  await connected({ stream }, async (client) => {
    await assert.rejects(collected(client, 3, { window: 2 }), { name: "FeatsvcError", code: "UNAVAILABLE" });
    assert.equal(streams, QUICK.attempts);
  });
});

test("the deadline ends the stream", async () => {
  await connected({ stream: each(() => {}) }, async (client) => {
    // Often, because two things happen at the deadline, in any order.
    for (let i = 0; i < 20; i++) {
      await assert.rejects(collected(client, 3, { window: 2, timeoutMs: 5 }), { code: "DEADLINE_EXCEEDED" });
    }
  });
});

test("the deadline and a signal end a stream whose source takes its time", async () => {
  await connected({ stream: each(answer) }, async (client) => {
    const ending = new AbortController();
    for (const [options, code] of [
      [{ timeoutMs: 1000 }, "DEADLINE_EXCEEDED"],
      [{ signal: ending.signal }, "CANCELLED"],
    ] as const) {
      const seen: string[] = [];
      const source = (async function* (): AsyncGenerator<Asked> {
        yield* numbered(1);
        await new Promise(() => {});
      })();
      await assert.rejects(async () => {
        for await (const { id } of client.streamDinoFeatures(source, options)) {
          seen.push(id);
          if (code === "CANCELLED") {
            setImmediate(() => ending.abort());
          }
        }
      }, { code });
      // The answer did not wait for the next question.
      assert.deepEqual(seen, ["q0"]);
    }
  });
});

test("what the source of the questions throws ends the stream", async () => {
  const failing = (async function* (): AsyncGenerator<Asked> {
    yield* numbered(1);
    throw new RangeError("no more");
  })();
  await connected({ stream: each(answer) }, async (client) => {
    await assert.rejects(async () => {
      for await (const _ of client.streamDinoFeatures(failing));
    }, RangeError);
  });
});

test("leaving the loop ends the stream and its source", async () => {
  let left: () => void;
  const ended = new Promise<void>((resolve) => (left = resolve));
  const stream = (to: Both) => {
    to.on("cancelled", () => left());
    each(answer)(to);
  };
  let closed = false;
  const source = (function* () {
    try {
      yield* numbered(1000);
    } finally {
      closed = true;
    }
  })();
  await connected({ stream }, async (client) => {
    for await (const _ of client.streamDinoFeatures(source, { window: 4 })) {
      break;
    }
    await ended;
    assert.ok(closed);
  });
});
