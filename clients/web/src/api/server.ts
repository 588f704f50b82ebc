/** The server that the page came from: one question and its answer, in its own words where there is none. */

import type { Path } from "./bodies.ts";
import { type Cost, cost } from "./replies.ts";

/** Why there is no answer. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly reason = "",
  ) {
    super(message);
  }
}

export interface Answer<Body> {
  body: Body;
  headers: Headers;
  cost: Cost;
}

export interface Asking {
  key: string;
  signal?: AbortSignal | undefined;
}

export const JSON_FORM = "application/json";
export const BYTES_FORM = "application/octet-stream";
/** The header that names a picture for further questions. */
export const DIGEST = "X-Featsvc-Digest";
/** Status of a server that cannot be reached at all. */
export const UNREACHABLE = 0;

/** Where a path is, below whatever a proxy puts before the page. */
export function address(path: string): string {
  return new URL(`.${path}`, document.baseURI).href;
}

// How often a question is asked again that found no place, or whose worker is being started anew.
const TRIES = 4;
const FOR_A_WHILE = [429, 503];
// Who is to wait for longer is told so.
const LONGEST_WAIT_S = 5;

async function answered(path: string, sent: RequestInit): Promise<Response> {
  for (let tries = 1; ; tries++) {
    const reply = await once(path, sent);
    if (reply.ok) return reply;
    const why = await refusal(reply);
    if (!FOR_A_WHILE.includes(why.status) || why.reason !== "" || tries === TRIES) throw why;
    const seconds = Number(reply.headers.get("Retry-After") ?? 1);
    if (!(seconds <= LONGEST_WAIT_S)) throw why;
    await waited(1000 * seconds, sent.signal);
  }
}

/** Resolves after so long; rejects as soon as the signal is given. */
function waited(ms: number, signal: AbortSignal | null | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}

async function once(path: string, sent: RequestInit): Promise<Response> {
  try {
    return await fetch(address(path), sent);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    const words = "the server cannot be reached: is it still running? What is drawn here is kept; try again.";
    throw new Refusal(UNREACHABLE, words);
  }
}

async function refusal(reply: Response): Promise<Refusal> {
  const { detail } = (await reply.json().catch(() => ({}))) as { detail?: unknown };
  const words = Array.isArray(detail)
    ? detail.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ")
    : String(detail ?? `${reply.status} ${reply.statusText}`);
  return new Refusal(reply.status, words, reply.headers.get("X-Featsvc-Reason") ?? "");
}

/** Asks one of the documented paths; the answer is JSON, or the bytes of its tensor. */
export async function post<Body>(
  path: Path,
  question: object,
  form: typeof JSON_FORM | typeof BYTES_FORM,
  { key, signal }: Asking,
): Promise<Answer<Body>> {
  signal?.throwIfAborted();
  const content = JSON.stringify(question);
  // A server ends the connection of a body that is far too large, and a browser then knows no reason.
  if (content.length > mostBytes) {
    const sizes = `the picture makes a request of ${content.length} bytes, at most ${mostBytes} are taken`;
    throw new Refusal(
      413,
      `${sizes}: open a smaller one, or start the server with a larger --max-request-bytes`,
    );
  }
  const began = performance.now();
  const reply = await answered(path, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": JSON_FORM, Accept: form },
    body: content,
    signal: signal ?? null,
  });
  const bytes = await reply.arrayBuffer();
  const body = form === JSON_FORM ? JSON.parse(new TextDecoder().decode(bytes)) : bytes;
  return {
    body,
    headers: reply.headers,
    cost: cost(reply.headers, performance.now() - began, bytes.byteLength),
  };
}

/** What anybody is told who opens the page. */
export interface About {
  documented_key: string | null;
  max_request_bytes: number;
  grpc_port: number | null;
}

let mostBytes = Number.POSITIVE_INFINITY;

export async function about(): Promise<About> {
  const told: About = await (await answered("/page.json", {})).json();
  mostBytes = told.max_request_bytes;
  return told;
}

/** The picture at an address, which the server fetches, and the name that it has there from then on. */
export async function fetchedPicture(
  url: string,
  { key, signal }: Asking,
): Promise<{ blob: Blob; digest: string | null }> {
  const reply = await answered(`/picture?${new URLSearchParams({ url })}`, {
    headers: { Authorization: `Bearer ${key}` },
    signal: signal ?? null,
  });
  return { blob: await reply.blob(), digest: reply.headers.get(DIGEST) };
}

/** What `GetStatus` and `ListModels` tell the owner of this key; 64-bit numbers are texts. */
export interface State {
  status: {
    default_models: { key: string; family: string; options: Options }[];
    version: string;
    uptime_s: number;
    queued: number;
    requests: string;
    images?: Cache;
    workers: Worker[];
  };
  models: { models: Model[] };
}
export interface Cache {
  name: string;
  hits: string;
  misses: string;
  entries: string;
  size_bytes: string;
  limit_bytes: string;
}
export interface Worker {
  id: number;
  /** The address of its machine; empty where there is but one, and while it has no place. */
  machine: string;
  device: string;
  state: string;
  precision: string;
  items: string;
  restarts: number;
  models: { key: string; size_bytes: string }[];
  caches: Cache[];
  failed_models: { key: string; reason: string }[];
}
export interface Model {
  key: string;
  family: string;
  description: string;
  license: string;
  size_bytes: string;
  available: boolean;
  loaded_workers: number;
  options: Options;
}
/** The options that name a model in a question. */
export type Options = Readonly<Record<string, string>>;

export async function state(key: string, signal: AbortSignal): Promise<State> {
  return (await answered("/state.json", { headers: { Authorization: `Bearer ${key}` }, signal })).json();
}
