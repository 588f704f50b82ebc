/** Questions about pictures: a picture is sent once, and named by its digest from then on. */

import type { Picture } from "../state/picture.ts";
import type { Asked, Path } from "./bodies.ts";
import { type Answer, type Asking, BYTES_FORM, DIGEST, JSON_FORM, post, Refusal } from "./server.ts";

/** As a browser shows it: what is pointed at on the screen is what the server means. */
const SHOWN = { orientation: "shown" } as const;
const GONE = "unknown-picture";

const digests = new WeakMap<Picture, Promise<string>>();

/** Says by what name the server has a picture already. */
export function sent(picture: Picture, digest: string): void {
  digests.set(picture, Promise.resolve(digest));
}

async function dataUrl(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () =>
      reject(new Refusal(0, "the file of the picture cannot be read any more: open it again"));
    reader.readAsDataURL(blob);
  });
}

async function about<Body>(
  picture: Picture,
  ask: (source: { image: string } | { image_digest: string }) => Promise<Answer<Body>>,
): Promise<Answer<Body>> {
  const sent = digests.get(picture);
  const digest = await sent?.catch(() => undefined);
  if (digest !== undefined) {
    try {
      return await ask({ image_digest: digest });
    } catch (error) {
      if (!(error instanceof Refusal) || error.reason !== GONE) throw error;
    }
  }
  // Of those who find it gone together, one sends it again.
  const now = digests.get(picture);
  if (now !== undefined && now !== sent) return about(picture, ask);
  const first = (async () => ask({ image: await dataUrl(picture.blob) }))();
  const named = first.then(({ headers }) => headers.get(DIGEST) ?? Promise.reject(new Error(GONE)));
  digests.set(picture, named);
  named.catch(() => {
    if (digests.get(picture) === named) digests.delete(picture);
  });
  return first;
}

/** A question about a picture, answered in JSON. */
export function askJson<Body>(
  path: Path,
  picture: Picture,
  asked: Asked<Path>,
  asking: Asking,
): Promise<Answer<Body>> {
  return about(picture, (source) => post<Body>(path, { ...asked, ...SHOWN, ...source }, JSON_FORM, asking));
}

/** The same, answered by the bytes of a tensor. */
export function askBytes(
  path: Path,
  picture: Picture,
  asked: Asked<Path>,
  asking: Asking,
): Promise<Answer<ArrayBuffer>> {
  return about(picture, (source) =>
    post<ArrayBuffer>(path, { ...asked, ...SHOWN, ...source }, BYTES_FORM, asking),
  );
}
