/** Opening pictures, of which the newest counts: whatever was drawn belongs to the one before it. */

import { EMPTY } from "./drawing.ts";
import { forget } from "./finding.ts";
import { begun } from "./history.ts";
import { leave, prepare, sendEarly } from "./masks.ts";
import { Turns } from "./newest.ts";
import {
  fromAddress,
  fromFile,
  fromGallery,
  isAddress,
  opened,
  type Picture,
  type Source,
} from "./picture.ts";
import { places } from "./places.ts";
import { attempt, hasKey, say, session, setError } from "./session.ts";

type Make = () => Promise<Source>;

/** A picture that can be opened, and where its problems are told. */
export class Opening {
  private readonly turns = new Turns();
  /** What could not be opened, to be tried again. */
  private failed: Make | null = null;

  constructor(
    readonly place: string,
    private readonly take: (picture: Picture) => void,
    /** Begins with a file while the browser reads it, until that has failed or nobody wants it any more. */
    private readonly begin: (file: Blob, signal: AbortSignal) => void = () => {},
  ) {}

  file(file: File): Promise<void> {
    return this.open(async () => fromFile(file));
  }

  /** One of the gallery by its name, or what is at an address. */
  link(link: string): Promise<void> {
    return this.open(() => fromLink(link));
  }

  /** The first picture among what was dropped or pasted, or what is at the address that was. */
  from(items: DataTransfer | null): boolean {
    const file = pictureIn(items);
    const [link = ""] = (items?.getData("text/uri-list") || items?.getData("text/plain") || "")
      .trim()
      .split(/\s/);
    if (file) void this.file(file);
    else if (isAddress(link)) void this.link(link);
    else return false;
    return true;
  }

  private async open(make: Make): Promise<void> {
    const isNewest = this.turns.begin();
    this.failed = null;
    const act = async () => {
      const source = await make();
      if (!isNewest()) return;
      const early = new AbortController();
      this.begin(source.blob, early.signal);
      try {
        const picture = await opened(source);
        if (isNewest()) this.take(picture);
        else early.abort();
      } catch (error) {
        early.abort();
        throw error;
      }
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

function shown(picture: Picture): void {
  leave();
  forget();
  places.set({ pinned: null });
  session.set({ picture, drawing: begun(EMPTY), errors: {}, cost: null, under: null });
  say(`${picture.name}, ${picture.width} by ${picture.height} pixels`);
  prepare(picture);
}

export const first = new Opening("opening", shown, sendEarly);
/** With which the first is compared. */
export const second = new Opening("second", (picture) => places.set({ second: picture }));

/** Shows no second picture, and none that is on its way. */
export function closeSecond(): void {
  second.stop();
  places.set({ second: null });
}

async function fromLink(link: string): Promise<Source> {
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

let { keysGiven } = session.now;
session.subscribe(() => {
  if (keysGiven === session.now.keysGiven) return;
  keysGiven = session.now.keysGiven;
  // It may have been the key.
  first.again();
  second.again();
});
