import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** Everything that a module imports, directly or not. */
function imported(module: URL, found = new Set<string>()): Set<string> {
  for (const [, name] of readFileSync(module, "utf8").matchAll(/from "([^"]+)"/g)) {
    const next = name!.startsWith(".") ? new URL(name!, module) : undefined;
    if (!found.has(next?.href ?? name!)) {
      found.add(next?.href ?? name!);
      if (next !== undefined) {
        imported(next, found);
      }
    }
  }
  return found;
}

test("messages and arrays need nothing of Node", () => {
  for (const entry of ["messages", "arrays"]) {
    const packages = [...imported(new URL(`../src/${entry}.js`, import.meta.url))].filter((name) => !name.startsWith("file:"));
    assert.ok(packages.length > 0);
    assert.deepEqual(packages.filter((name) => !/^(@bufbuild\/protobuf|fast-png)/.test(name)), []);
  }
});
