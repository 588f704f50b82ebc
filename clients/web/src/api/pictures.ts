/** Questions about pictures: a picture is sent once, and named by its digest from then on. */

import type { Asked, Path } from "./bodies.ts";
import { type Answer, type Asking, BYTES_FORM, DIGEST, JSON_FORM, post, Refusal } from "./server.ts";

/** As a browser shows it: what is pointed at on the screen is what the server means. */
const SHOWN = { orientation: "shown" } as const;
const UNKNOWN = 404;

const digests = new WeakMap<Blob, Promise<string>>();

/** Says by what name the server has a file already. */
export function sent(file: Blob, digest: string): void {
  digests.set(file, Promise.resolve(digest));
}

async function dataUrl(file: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () =>
      reject(new Refusal(0, "the file of the picture cannot be read any more: open it again"));
    reader.readAsDataURL(file);
  });
}

/** Whether the server has forgotten the picture that was named: it was started anew, or had many others since. */
function isGone(error: unknown): boolean {
  return error instanceof Refusal && error.status === UNKNOWN && error.message.startsWith("image_digest: ");
}

async function about<Body>(
  file: Blob,
  ask: (source: { image: string } | { image_digest: string }) => Promise<Answer<Body>>,
): Promise<Answer<Body>> {
  const sent = digests.get(file);
  const digest = await sent?.catch(() => undefined);
  if (digest !== undefined) {
    try {
      return await ask({ image_digest: digest });
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
  // Of those who find it gone together, one sends it again.
  const now = digests.get(file);
  if (now !== undefined && now !== sent) return about(file, ask);
  const first = (async () => ask({ image: await dataUrl(file) }))();
  const named = first.then(
    ({ headers }) => headers.get(DIGEST) ?? Promise.reject(new Error("the picture got no name")),
  );
  digests.set(file, named);
  named.catch(() => {
    if (digests.get(file) === named) digests.delete(file);
  });
  return first;
}

/** A question about the file of a picture, answered in JSON. */
export function askJson<Body>(
  path: Path,
  file: Blob,
  asked: Asked<Path>,
  asking: Asking,
): Promise<Answer<Body>> {
  return about(file, (source) => post<Body>(path, { ...asked, ...SHOWN, ...source }, JSON_FORM, asking));
}

/** The same, answered by the bytes of a tensor. */
export function askBytes(
  path: Path,
  file: Blob,
  asked: Asked<Path>,
  asking: Asking,
): Promise<Answer<ArrayBuffer>> {
  return about(file, (source) =>
    post<ArrayBuffer>(path, { ...asked, ...SHOWN, ...source }, BYTES_FORM, asking),
  );
}
