import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { Refusal, state } from "../src/api/server.ts";
import { repeated } from "../src/state/polling.ts";

Object.assign(globalThis, {
  document: { baseURI: "http://localhost/" },
  sessionStorage: { getItem: () => null },
});
const { isSendable } = await import("../src/state/session.ts");

let asked = 0;

/** A server that is full, and says for how many seconds. */
function full(retryAfter: string) {
  asked = 0;
  mock.method(globalThis, "fetch", async () => {
    asked += 1;
    return new Response(JSON.stringify({ detail: "full" }), {
      status: 429,
      headers: { "Retry-After": retryAfter },
    });
  });
}

const settled = () => new Promise(setImmediate);

beforeEach(() => mock.reset());

test("a wait that would be long is told and not done", async () => {
  full("6");
  await assert.rejects(state("k", new AbortController().signal), new Refusal(429, "full"));
  assert.equal(asked, 1);
});

test("a wait ends when nobody wants the answer any more", async () => {
  full("5");
  const ending = new AbortController();
  const asking = state("k", ending.signal);
  while (!asked) await settled();
  await settled();
  ending.abort();
  await assert.rejects(asking, { name: "AbortError" });
  assert.equal(asked, 1);
});

test("the next look begins after the last one, and none after the last of all", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let looks = 0;
  let answer = (_: boolean) => {};
  let given: AbortSignal | undefined;
  const end = repeated(3000, (signal) => {
    looks += 1;
    given = signal;
    return new Promise((resolve) => {
      answer = resolve;
    });
  });
  context.mock.timers.tick(9000);
  assert.equal(looks, 1);
  answer(true);
  await settled();
  context.mock.timers.tick(3000);
  assert.equal(looks, 2);
  answer(false);
  await settled();
  context.mock.timers.tick(3000);
  assert.equal(looks, 2);
  end();
  assert.equal(given?.aborted, true);
});

test("a key that no header carries is known before it is sent", () => {
  assert.equal(isSendable("smfeats with ~"), true);
  for (const key of ["schlüssel", "a\nb", ""]) assert.equal(isSendable(key), false);
});
