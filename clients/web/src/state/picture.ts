/** Pictures: where they come from, and as the browser shows them. */

import { sent } from "../api/pictures.ts";
import { address, fetchedPicture } from "../api/server.ts";

/** The gallery: drawn scenes that the demo models know how to read, and photographs. */
export const GALLERY = [
  { name: "stars-and-rings", title: "Stars, ring and cross" },
  { name: "red-circle", title: "A red circle and others" },
  { name: "three-circles", title: "Three circles" },
  { name: "squares", title: "Six small shapes" },
  { name: "two-colours", title: "On a rough ground" },
  { name: "cat", title: "A cat" },
  { name: "coffee", title: "A cup of coffee" },
  { name: "rocket", title: "A rocket at its start" },
] as const;

/** Where a picture can be had again; nowhere, where only this browser has it. */
export interface Origin {
  /** Its name in the gallery. */
  gallery: string | null;
  /** The address that the server has fetched it from. */
  url: string | null;
}

/** A file that the browser has not read yet. */
export interface Source extends Origin {
  name: string;
  blob: Blob;
}

export interface Picture extends Source {
  bitmap: ImageBitmap;
  width: number;
  height: number;
}

/** Raises Error where the browser cannot read it. */
export async function opened(source: Source): Promise<Picture> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(source.blob);
  } catch {
    throw new Error(`${source.name} is no picture that this browser can show: try JPEG, PNG, WebP or GIF`);
  }
  return { ...source, bitmap, width: bitmap.width, height: bitmap.height };
}

/** A file of the reader's own. */
export function fromFile(file: File): Source {
  return { name: file.name, blob: file, gallery: null, url: null };
}

export function galleryAddress(name: string): string {
  return address(`/pictures/${name}.jpg`);
}

export async function fromGallery(name: string): Promise<Source> {
  const known = GALLERY.find((each) => each.name === name);
  if (known === undefined) throw new Error(`the gallery has no picture ${name}`);
  const reply = await fetch(galleryAddress(name));
  if (!reply.ok) throw new Error(`the picture ${name} cannot be fetched: ${reply.status}`);
  return { name: `${name}.jpg`, blob: await reply.blob(), gallery: name, url: null };
}

/** Whether a text is an address that the server may fetch. */
export function isAddress(text: string): boolean {
  return /^https?:\/\/\S+$/i.test(text);
}

/** The picture at an address, fetched by the server: the page asks nobody else. */
export async function fromAddress(url: string, key: string): Promise<Source> {
  const { blob, digest } = await fetchedPicture(url, { key });
  if (digest !== null) sent(blob, digest);
  return { name: lastPart(url), blob, gallery: null, url };
}

function lastPart(url: string): string {
  const { pathname, hostname } = new URL(url);
  return pathname.split("/").pop() || hostname;
}

/** What a link says of a picture; null of one that it cannot hold. */
export function linkOf({ gallery, url }: Origin): string | null {
  return gallery ?? url;
}
