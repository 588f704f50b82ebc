/** Opening a picture: whatever was drawn belongs to the one before it. */

import { EMPTY } from "./drawing.ts";
import { begun } from "./history.ts";
import { forget, prepare } from "./masks.ts";
import { fromGallery, opened, type Picture } from "./picture.ts";
import { places } from "./places.ts";
import { attempt, say, session } from "./session.ts";

async function open(make: () => Promise<Picture>): Promise<void> {
  await attempt("opening", async () => {
    const picture = await make();
    forget();
    session.set({ picture, drawing: begun(EMPTY), errors: {}, cost: null, under: null });
    places.set({ pinned: null });
    say(`${picture.name}, ${picture.width} by ${picture.height} pixels`);
    prepare(picture);
  });
}

export function openFile(file: File): Promise<void> {
  return open(() => opened(file, file.name));
}

export function openGallery(name: string): Promise<void> {
  return open(() => fromGallery(name));
}

/** The first picture among what was dropped or pasted. */
export function openFrom(items: DataTransfer | null): boolean {
  const file = [...(items?.files ?? [])].find((each) => each.type.startsWith("image/"));
  if (file) void openFile(file);
  return file !== undefined;
}
