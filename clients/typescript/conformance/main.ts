/**
 * Asks the cases of a file and prints a line of JSON about each question:
 *
 *     node dist/conformance/main.js ADDRESS CASES.json [API_KEY]
 */
import { readFileSync } from "node:fs";
import { DEFAULT_KEY } from "featsvc";
import { lines, type TestCase } from "./ask.js";

const [address, path, apiKey = DEFAULT_KEY] = process.argv.slice(2);
if (address === undefined || path === undefined) {
  console.error("usage: main ADDRESS CASES.json [API_KEY]");
  process.exit(2);
}
for (const each of JSON.parse(readFileSync(path, "utf8")) as TestCase[]) {
  for (const line of await lines(address, apiKey, each)) {
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}
