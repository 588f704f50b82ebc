/** Pictures: where they come from, and as the browser shows them. */

import { address } from "../api/server.ts";

/** The gallery: drawn scenes that the demo models know how to read. */
export const GALLERY = [
  { name: "stars-and-rings", title: "Stars, ring and cross" },
  { name: "red-circle", title: "A red circle and others" },
  { name: "three-circles", title: "Three circles" },
  { name: "squares", title: "Six small shapes" },
  { name: "two-colours", title: "On a rough ground" },
] as const;

export interface Picture {
  /** Of the gallery; null for one that only this browser has. */
  gallery: string | null;
  name: string;
  blob: Blob;
  bitmap: ImageBitmap;
  width: number;
  height: number;
}

/** Raises Error where the browser cannot read it. */
export async function opened(blob: Blob, name: string, gallery: string | null = null): Promise<Picture> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw new Error(`${name} is no picture that this browser can show: try JPEG, PNG, WebP or GIF`);
  }
  return { gallery, name, blob, bitmap, width: bitmap.width, height: bitmap.height };
}

export function galleryAddress(name: string): string {
  return address(`/pictures/${name}.jpg`);
}

export async function fromGallery(name: string): Promise<Picture> {
  const known = GALLERY.find((each) => each.name === name);
  if (known === undefined) throw new Error(`the gallery has no picture ${name}`);
  const reply = await fetch(galleryAddress(name));
  if (!reply.ok) throw new Error(`the picture ${name} cannot be fetched: ${reply.status}`);
  return opened(await reply.blob(), `${name}.jpg`, name);
}
