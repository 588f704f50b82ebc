/** Opening pictures, of which the newest counts: whatever was drawn belongs to the one before it. */

import { EMPTY } from "./drawing.ts";
import { forget } from "./finding.ts";
import { begun } from "./history.ts";
import { leave, prepare } from "./masks.ts";
import { Turns } from "./newest.ts";
import { fromAddress, fromGallery, isAddress, opened, type Picture } from "./picture.ts";
import { places } from "./places.ts";
import { attempt, hasKey, say, session, setError } from "./session.ts";

type Make = () => Promise<Picture>;

/** A picture that is opened at a place of the page. */
class Opening {
  private readonly turns = new Turns();
  /** What could not be opened, to be tried again. */
  private failed: Make | null = null;

  constructor(
    private readonly place: string,
    private readonly take: (picture: Picture) => void,
  ) {}

  async open(make: Make): Promise<void> {
    const isNewest = this.turns.begin();
    this.failed = null;
    const act = async () => {
      const picture = await make();
      if (isNewest()) this.take(picture);
    };
    if (!(await attempt(this.place, act, isNewest)) && isNewest()) this.failed = make;
  }

  /** Tries again what could not be opened; tells whether there is anything to try. */
  again(): boolean {
    const make = this.failed;
    if (make) void this.open(make);
    return make !== null;
  }

  /** Opens nothing of what is on its way, or could not be opened. */
  stop(): void {
    this.turns.begin();
    if (this.failed) setError(this.place, null);
    this.failed = null;
  }
}

const first = new Opening("opening", (picture) => {
  leave();
  forget();
  places.set({ pinned: null });
  session.set({ picture, drawing: begun(EMPTY), errors: {}, cost: null, under: null });
  say(`${picture.name}, ${picture.width} by ${picture.height} pixels`);
  prepare(picture);
});
/** With which the first is compared. */
const other = new Opening("second", (second) => places.set({ second }));

export function openFile(file: File): Promise<void> {
  return first.open(() => opened(file, file.name));
}

export function openSecondFile(file: File): Promise<void> {
  return other.open(() => opened(file, file.name));
}

/** One of the gallery by its name, or what is at an address. */
export function openLink(link: string): Promise<void> {
  return first.open(() => fromLink(link));
}

export function openSecondLink(link: string): Promise<void> {
  return other.open(() => fromLink(link));
}

/** Tries again what could not be opened. */
export function again(): void {
  first.again();
}

/** The same of the second picture; tells whether there is one to try. */
export function secondAgain(): boolean {
  return other.again();
}

/** Shows no second picture, and none that is on its way. */
export function closeSecond(): void {
  other.stop();
  places.set({ second: null });
}

/** Opens nothing of what is on its way, or could not be opened. */
export function stop(): void {
  first.stop();
  other.stop();
}

async function fromLink(link: string): Promise<Picture> {
  if (!isAddress(link)) return fromGallery(link);
  await hasKey();
  return fromAddress(link, session.now.key);
}

/** The first file of a picture. */
function pictureIn(items: DataTransfer | null): File | undefined {
  return [...(items?.files ?? [])].find((each) => each.type.startsWith("image/"));
}

/** Whether what is pasted into a field is nothing for it: a picture, as of the screen, without words. */
export function isPictureAlone(items: DataTransfer | null): boolean {
  return pictureIn(items) !== undefined && !items?.getData("text/plain");
}

/** The first picture among what was dropped or pasted, or what is at the address that was. */
export function openFrom(items: DataTransfer | null): boolean {
  const file = pictureIn(items);
  const [link = ""] = (items?.getData("text/uri-list") || items?.getData("text/plain") || "")
    .trim()
    .split(/\s/);
  if (file) void openFile(file);
  else if (isAddress(link)) void openLink(link);
  else return false;
  return true;
}

let { keysGiven } = session.now;
session.subscribe(() => {
  if (keysGiven === session.now.keysGiven) return;
  keysGiven = session.now.keysGiven;
  // It may have been the key.
  again();
  secondAgain();
});
