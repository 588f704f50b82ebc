// Builds the page into rest_shim/page: the same sources give the same bytes.
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const target = process.argv[2] ?? fileURLToPath(new URL("../../rest_shim/page", import.meta.url));

// The pictures beside them are drawn by tests/web/gallery.py.
await rm(`${target}/assets`, { recursive: true, force: true });
await mkdir(`${target}/assets`, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { page: "src/main.tsx", "page-style": "src/style/main.css" },
  outdir: `${target}/assets`,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "inline",
  logLevel: "warning",
});
await cp(`${here}/src/index.html`, `${target}/index.html`);
await cp(`${here}/src/icon.svg`, `${target}/assets/icon.svg`);
const licence = await readFile(`${here}/node_modules/preact/LICENSE`, "utf8");
await writeFile(`${target}/assets/preact-LICENSE.txt`, licence);
