/** Opening a picture: whatever was drawn belongs to the one before it. */

import { EMPTY } from "./drawing.ts";
import { forget } from "./finding.ts";
import { begun } from "./history.ts";
import { leave, prepare } from "./masks.ts";
import { fromAddress, fromGallery, isAddress, opened, type Picture } from "./picture.ts";
import { places } from "./places.ts";
import { attempt, hasKey, say, session } from "./session.ts";

let openings = 0;

/** Tells whether it went well. */
async function open(make: () => Promise<Picture>): Promise<boolean> {
  const opening = ++openings;
  return attempt("opening", async () => {
    const picture = await make();
    // Another one was opened while this was fetched.
    if (opening !== openings) return;
    leave();
    forget();
    session.set({ picture, drawing: begun(EMPTY), errors: {}, cost: null, under: null });
    places.set({ pinned: null });
    say(`${picture.name}, ${picture.width} by ${picture.height} pixels`);
    prepare(picture);
  });
}

export function openFile(file: File): Promise<boolean> {
  return open(() => opened(file, file.name));
}

/** One of the gallery by its name, or what is at an address. */
export function openLink(link: string): Promise<boolean> {
  return open(() => fromLink(link));
}

export async function fromLink(link: string): Promise<Picture> {
  if (!isAddress(link)) return fromGallery(link);
  await hasKey();
  return fromAddress(link, session.now.key);
}

/** The first picture among what was dropped or pasted, or what is at the address that was. */
export function openFrom(items: DataTransfer | null): boolean {
  const file = [...(items?.files ?? [])].find((each) => each.type.startsWith("image/"));
  const [link = ""] = (items?.getData("text/uri-list") || items?.getData("text/plain") || "")
    .trim()
    .split(/\s/);
  if (file) void openFile(file);
  else if (isAddress(link)) void openLink(link);
  else return false;
  return true;
}
