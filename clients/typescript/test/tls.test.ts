import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ServerCredentials } from "@grpc/grpc-js";
import { Client, type Tls } from "featsvc";
import { bytes, serving } from "./server.js";

const FOLDER = mkdtempSync(join(tmpdir(), "featsvc-"));
const OPENSSL = spawnSync("openssl", ["version"]).status === 0;

/** Writes a self-signed certificate of 127.0.0.1 and its key, and gives the files. */
function certificate(): { cert: string; key: string } {
  const [cert, key] = [join(FOLDER, "cert.pem"), join(FOLDER, "key.pem")];
  const about = ["-subj", "/CN=featsvc", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
  execFileSync("openssl", ["req", "-x509", ...kind, ...about, "-keyout", key, "-out", cert], { stdio: "pipe" });
  return { cert, key };
}

test("a server that asks for a certificate is reached with one only", { skip: !OPENSSL && "no openssl" }, async () => {
  const own = certificate();
  const pair = { cert_chain: readFileSync(own.cert), private_key: readFileSync(own.key) };
  const credentials = ServerCredentials.createSsl(readFileSync(own.cert), [pair], true);
  await serving({ extract: () => bytes(7) }, async (address) => {
    const tries: [Tls | undefined, string][] = [
      [{ ca: own.cert, own }, "OK"],
      [{ ca: own.cert }, "UNAVAILABLE"],
      [{}, "UNAVAILABLE"],
      [undefined, "UNAVAILABLE"],
    ];
    for (const [tls, code] of tries) {
      const client = new Client(address, { ...(tls && { tls }), retry: { attempts: 1 } });
      const came = await client.dino.extractFeatures({}).then(() => "OK", (error: { code: string }) => error.code);
      assert.equal(came, code, JSON.stringify(tls));
      client.close();
    }
  }, credentials);
});

test("a file that is no certificate is an error at once", () => {
  const nothing = join(FOLDER, "nothing.pem");
  writeFileSync(nothing, "-----BEGIN NOTHING-----\n-----END NOTHING-----\n");
  for (const tls of [
    { ca: nothing }, { ca: join(FOLDER, "no such file") }, { own: { cert: nothing, key: nothing } },
    { own: { cert: join(FOLDER, "no such file"), key: nothing } },
  ]) {
    assert.throws(() => new Client("127.0.0.1:1", { tls }), JSON.stringify(tls));
  }
});
