/** A question as code that asks the same: it runs as it is printed, beside the file of the picture. */

import type { Path } from "../api/bodies.ts";

/** What is asked, in the words of each transport. */
export interface Question {
  path: Path;
  /** The body over REST, without its picture. */
  body: Readonly<Record<string, unknown>>;
  /** Method of the Python client. */
  method: string;
  /** Service and method of gRPC. */
  rpc: string;
  /** The message of gRPC, without its picture. */
  message: Readonly<Record<string, unknown>>;
}

/** Where the server is, and the file of the picture. */
export interface Surroundings {
  /** Of the page, without a slash at its end. */
  origin: string;
  host: string;
  grpcPort: number | null;
  isSecure: boolean;
  /** A key that is no secret; for others the environment stands. */
  documentedKey: string | null;
  file: string;
  /** Where the file can be had, where it is of the gallery. */
  fileAddress: string | null;
  /** Where the server fetches the picture itself. */
  url: string | null;
}

export type Language = "curl" | "Python" | "grpcurl" | "TypeScript";
export const LANGUAGES: readonly Language[] = ["curl", "Python", "grpcurl", "TypeScript"];
const MOST_REPLY_BYTES = 1 << 28;

export function snippet(language: Language, question: Question, there: Surroundings): string {
  return { curl, Python: python, grpcurl, TypeScript: typeScript }[language](question, there);
}

function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A text as it stands in a here-document that knows variables. */
function inDocument(text: string): string {
  return text.replace(/[\\$`]/g, "\\$&");
}

function shellKey({ documentedKey }: Surroundings): string {
  return documentedKey ?? "$FEATSVC_API_KEY";
}

function fetched({ file, fileAddress, url }: Surroundings): string[] {
  if (url !== null) return [];
  const picture = `picture=$(base64 < ${quoted(file)} | tr -d '\\n')`;
  return fileAddress ? [`curl -sS -o ${quoted(file)} ${fileAddress}`, picture] : [picture];
}

/** The picture as one of two fields: by its address, or as the variable that has its file. */
function inShell(address: string, content: string, { url }: Surroundings): string {
  return url === null ? `"${content}": "$picture"` : `"${address}": ${inDocument(JSON.stringify(url))}`;
}

function documented(open: string, body: object): string {
  const rest = inDocument(JSON.stringify(body).slice(1));
  return `${open}${rest === "}" ? "" : ", "}${rest}`;
}

function curl({ path, body }: Question, there: Surroundings): string {
  return [
    ...fetched(there),
    `curl -sS ${there.origin}${path} -d @- \\`,
    `  -H "Authorization: Bearer ${shellKey(there)}" -H 'Content-Type: application/json' <<JSON`,
    documented(`{${inShell("image_url", "image", there)}, "orientation": "shown"`, body),
    "JSON",
  ].join("\n");
}

function grpcurl({ rpc, message }: Question, there: Surroundings): string {
  const plain = there.isSecure ? "" : " -plaintext";
  return [
    ...fetched(there),
    `grpcurl${plain} -max-msg-sz ${MOST_REPLY_BYTES} -H "authorization: Bearer ${shellKey(there)}" -d @ \\`,
    `  ${there.host}:${there.grpcPort ?? "PORT"} featsvc.v1.${rpc} <<JSON`,
    documented(
      `{"image": {${inShell("url", "content", there)}, "orientation": "ORIENTATION_SHOWN"}`,
      message,
    ),
    "JSON",
  ].join("\n");
}

/** A value as Python writes it. */
function literal(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  return JSON.stringify(value);
}

function python({ method, body }: Question, there: Surroundings): string {
  const { file, fileAddress, url, host, grpcPort, documentedKey, isSecure } = there;
  const key = documentedKey === null ? 'os.environ["FEATSVC_API_KEY"]' : literal(documentedKey);
  const options = Object.entries({ orientation: "shown", ...body }).map(
    ([name, value]) => `${name}=${literal(value)}`,
  );
  const secure = isSecure ? ", credentials=grpc.ssl_channel_credentials()" : "";
  return [
    ...(documentedKey === null ? ["import os", ""] : []),
    ...(fileAddress ? ["import urllib.request", ""] : []),
    ...(isSecure ? ["import grpc"] : []),
    "from featsvc_client import FeatsvcClient",
    "",
    ...(fileAddress ? [`urllib.request.urlretrieve(${literal(fileAddress)}, ${literal(file)})`] : []),
    `with FeatsvcClient(${literal(`${host}:${grpcPort ?? "PORT"}`)}, api_key=${key}${secure}) as client:`,
    `    answer = client.${method}(`,
    `        ${[literal(url ?? file), ...options].join(",\n        ")},`,
    "    )",
    "print(answer)",
  ].join("\n");
}

/** The file of the picture in TypeScript, where it is not the server that fetches it. */
function contentOf({ file, fileAddress, url }: Surroundings): string[] {
  if (url !== null) return [];
  if (fileAddress) return [`const file = await (await fetch(${JSON.stringify(fileAddress)})).arrayBuffer();`];
  return [
    'import { readFile } from "node:fs/promises";',
    "",
    `const file = await readFile(${JSON.stringify(file)});`,
  ];
}

function typeScript({ path, body }: Question, there: Surroundings): string {
  const { url, origin, documentedKey } = there;
  const key = documentedKey === null ? `\${process.env.FEATSVC_API_KEY}` : documentedKey;
  const question = JSON.stringify({ orientation: "shown", ...body }, null, 2).slice(2, -2);
  return [
    ...contentOf(there),
    `const answer = await fetch(${JSON.stringify(`${origin}${path}`)}, {`,
    '  method: "POST",',
    `  headers: { Authorization: \`Bearer ${key}\`, "Content-Type": "application/json" },`,
    "  body: JSON.stringify({",
    url === null
      ? '    image: Buffer.from(file).toString("base64"),'
      : `    image_url: ${JSON.stringify(url)},`,
    ...question.split("\n").map((line) => `  ${line}`),
    "  }),",
    "});",
    "console.log(answer.status, await answer.json());",
  ].join("\n");
}
