import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { status } from "@grpc/grpc-js";
import { FeatsvcError, pictureFile, type CallOptions, type ConnectOptions } from "featsvc";
import { bytes, connected, QUICK, refusal } from "./server.js";

/** Makes one call of a server that fails so many times, and counts the attempts. */
async function asked(
  failures: number, error: () => Error, call: CallOptions = {}, options: ConnectOptions = {},
): Promise<{ attempts: number; said: FeatsvcError | undefined }> {
  let attempts = 0;
  let said: FeatsvcError | undefined;
  const extract = () => {
    if (++attempts <= failures) {
      throw error();
    }
    return bytes(7);
  };
  await connected({ extract }, async (client) => {
    try {
      await client.dino.extractFeatures({}, call);
    } catch (thrown) {
      assert.ok(thrown instanceof FeatsvcError);
      said = thrown;
    }
  }, options);
  return { attempts, said };
}

test("a call is tried again where the server is unavailable", async () => {
  const { attempts, said } = await asked(2, () => refusal(status.UNAVAILABLE));
  assert.equal(said, undefined);
  assert.equal(attempts, 3);
});

test("a full server is asked again, not before it says", async () => {
  const begin = performance.now();
  const { attempts, said } = await asked(1, () => refusal(status.RESOURCE_EXHAUSTED, { "retry-after-ms": "150" }));
  assert.equal(said, undefined);
  assert.equal(attempts, 2);
  assert.ok(performance.now() - begin >= 149);
});

test("no other try is made where it would not help", async () => {
  for (const error of [
    refusal(status.INVALID_ARGUMENT),
    refusal(status.RESOURCE_EXHAUSTED, { "featsvc-reason": "reply-too-large" }),
    refusal(status.UNAVAILABLE, { "featsvc-reason": "killed-workers" }),
  ]) {
    const { attempts, said } = await asked(9, () => error);
    assert.equal(attempts, 1);
    assert.equal(said?.code, status[error.code!]);
  }
});

test("attempts are limited", async () => {
  const { attempts, said } = await asked(99, () => refusal(status.UNAVAILABLE));
  assert.equal(said?.code, "UNAVAILABLE");
  assert.equal(attempts, QUICK.attempts);
});

test("a pause longer than the deadline is not made", async () => {
  const begin = performance.now();
  const refused = () => refusal(status.RESOURCE_EXHAUSTED, { "retry-after-ms": "60000" });
  for (const [call, options] of [[{ timeoutMs: 20_000 }, {}], [{}, { timeoutMs: 20_000 }]] as const) {
    const { said } = await asked(9, refused, call, options);
    assert.equal(said?.code, "RESOURCE_EXHAUSTED");
    assert.equal(said.retryAfterMs, 60_000);
  }
  assert.ok(performance.now() - begin < 10_000);
});

test("a signal ends the pause between two attempts", async (context) => {
  const ending = new AbortController();
  const { setTimeout: real } = globalThis;
  context.mock.method(globalThis, "setTimeout", (wake: () => void, delayMs: number, ...given: []) => {
    if (delayMs >= 60_000 && delayMs < 61_000) {
      setImmediate(() => ending.abort());
    }
    return real(wake, delayMs, ...given);
  });
  const refused = () => refusal(status.RESOURCE_EXHAUSTED, { "retry-after-ms": "60000" });
  const { attempts, said } = await asked(9, refused, { signal: ending.signal, timeoutMs: 600_000 });
  assert.equal(attempts, 1);
  assert.equal(said?.code, "RESOURCE_EXHAUSTED");
});

test("a signal ends a call under way", async () => {
  const ending = new AbortController();
  await connected({ chunked: () => ending.abort() }, async (client) => {
    await assert.rejects(client.dinoFeatures({}, { signal: ending.signal }), { code: "CANCELLED" });
    await assert.rejects(client.dino.extractFeatures({}, { signal: ending.signal }), { code: "CANCELLED" });
  });
});

test("an error names the bad fields", async () => {
  const violation = (field: string, description: string) =>
    new BinaryWriter().tag(1, 2).string(field).tag(2, 2).string(description).finish();
  const badRequest = new BinaryWriter().tag(1, 2).bytes(violation("image", "is missing")).tag(1, 2).bytes(violation("params", "is wrong"));
  const any = new BinaryWriter().tag(1, 2).string("type.googleapis.com/google.rpc.BadRequest").tag(2, 2).bytes(badRequest.finish());
  const details = new BinaryWriter().tag(1, 0).int32(3).tag(2, 2).string("two").tag(3, 2).bytes(any.finish()).finish();
  const pairs = { "x-request-id": "abc", "grpc-status-details-bin": Buffer.from(details) };
  const { said } = await asked(9, () => refusal(status.INVALID_ARGUMENT, pairs));
  assert.equal(said?.requestId, "abc");
  assert.deepEqual(said.violations, [
    { field: "image", description: "is missing" },
    { field: "params", description: "is wrong" },
  ]);
});

test("the key and the picture arrive as given", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "featsvc-")), "picture");
  writeFileSync(path, "a file");
  let came: unknown[] = [];
  const extract = (call: { metadata: { get(key: string): unknown[] }; request: { image?: { source: { value?: unknown } } | undefined } }) => {
    came = [...call.metadata.get("authorization"), ...call.metadata.get("x-featsvc-priority"), String(call.request.image?.source.value)];
    return bytes(7);
  };
  await connected({ extract }, async (client) => {
    await client.dino.extractFeatures({ image: await pictureFile(path) });
  }, { apiKey: "mine", priority: -3 });
  assert.deepEqual(came, ["Bearer mine", "-3", String(Buffer.from("a file"))]);
});

test("a message over the limit of the client is not asked for again", async () => {
  let attempts = 0;
  const extract = () => {
    attempts++;
    return bytes(...new Array<number>(4096).fill(1));
  };
  await connected({ extract }, async (client) => {
    await assert.rejects(client.dino.extractFeatures({}), { code: "RESOURCE_EXHAUSTED", final: true });
    assert.equal(attempts, 1);
    const image = { source: { case: "content" as const, value: new Uint8Array(4096) } };
    await assert.rejects(client.dino.extractFeatures({ image }), { code: "RESOURCE_EXHAUSTED", final: true });
    assert.equal(attempts, 1);
  }, { maxMessageBytes: 1024 });
});
