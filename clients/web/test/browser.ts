/** What of a browser the page's state needs, and a server whose answers a test gives when it likes. */

const HASHES: (() => void)[] = [];
const asked: Question[] = [];

export class Question {
  readonly body: Record<string, unknown>;
  readonly signal: AbortSignal | null;

  constructor(
    readonly url: string,
    { body, signal = null }: RequestInit,
    private readonly end: (reply: Response) => void,
    fail: (why: unknown) => void,
  ) {
    this.body = body ? JSON.parse(String(body)) : {};
    this.signal = signal;
    signal?.addEventListener("abort", () => fail(signal.reason));
  }

  async answer(content: object, headers: Record<string, string> = {}): Promise<void> {
    this.end(new Response(content instanceof Blob ? content : JSON.stringify(content), { headers }));
    await settled();
  }

  async refuse(detail: string): Promise<void> {
    this.end(new Response(JSON.stringify({ detail }), { status: 400 }));
    await settled();
  }
}

class Reader {
  readonly result = "data:image/jpeg;base64,";
  onload = () => {};
  readAsDataURL(): void {
    setImmediate(() => this.onload());
  }
}

Object.assign(globalThis, {
  document: { baseURI: "http://localhost/" },
  sessionStorage: { getItem: () => "key", setItem: () => {} },
  window: {
    location: { hash: "", href: "" },
    history: {
      replaceState: (_: null, __: string, hash: string) =>
        Object.assign(window.location, { hash, href: hash }),
    },
    addEventListener: (_: string, listener: () => void) => HASHES.push(listener),
  },
  FileReader: Reader,
  createImageBitmap: async () => ({ width: 64, height: 48 }),
  fetch: (url: string, sent: RequestInit = {}) =>
    new Promise<Response>((end, fail) => asked.push(new Question(url, sent, end, fail))),
});

/** Waits until all is done that can be done without an answer. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
}

/** The oldest question with this in its address that no test has taken yet. */
export async function question(part: string): Promise<Question> {
  await settled();
  const index = asked.findIndex(({ url }) => url.includes(part));
  if (index < 0) throw new Error(`nothing was asked with ${part}, but ${asked.map(({ url }) => url)}`);
  return asked.splice(index, 1)[0]!;
}

/** Forgets what was asked before. */
export async function clear(): Promise<void> {
  await settled();
  asked.length = 0;
}

/** Opens another link on the same page. */
export async function follow(hash: string): Promise<void> {
  window.location.hash = hash;
  for (const each of HASHES) each();
  await settled();
}

export const PICTURE = new Blob(["picture"]);
