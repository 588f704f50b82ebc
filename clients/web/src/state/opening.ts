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

const firsts = new Turns();
const seconds = new Turns();
/** What could not be opened, to be tried again. */
let failed: Make | null = null;
let failedSecond: Make | null = null;

async function open(make: Make): Promise<void> {
  const isNewest = firsts.begin();
  failed = null;
  const act = async () => {
    const picture = await make();
    if (!isNewest()) return;
    leave();
    forget();
    places.set({ pinned: null });
    session.set({ picture, drawing: begun(EMPTY), errors: {}, cost: null, under: null });
    say(`${picture.name}, ${picture.width} by ${picture.height} pixels`);
    prepare(picture);
  };
  if (!(await attempt("opening", act, isNewest)) && isNewest()) failed = make;
}

/** Opens the second picture, with which the first is compared. */
async function openSecond(make: Make): Promise<void> {
  const isNewest = seconds.begin();
  failedSecond = null;
  const act = async () => {
    const second = await make();
    if (isNewest()) places.set({ second });
  };
  if (!(await attempt("second", act, isNewest)) && isNewest()) failedSecond = make;
}

export function openFile(file: File): Promise<void> {
  return open(() => opened(file, file.name));
}

export function openSecondFile(file: File): Promise<void> {
  return openSecond(() => opened(file, file.name));
}

/** One of the gallery by its name, or what is at an address. */
export function openLink(link: string): Promise<void> {
  return open(() => fromLink(link));
}

export function openSecondLink(link: string): Promise<void> {
  return openSecond(() => fromLink(link));
}

/** Tries again what could not be opened. */
export function again(): void {
  if (failed) void open(failed);
}

/** The same of the second picture; tells whether there is one to try. */
export function secondAgain(): boolean {
  const make = failedSecond;
  if (make) void openSecond(make);
  return make !== null;
}

/** Shows no second picture, and none that is on its way. */
export function closeSecond(): void {
  stopSecond();
  places.set({ second: null });
}

function stopSecond(): void {
  seconds.begin();
  if (failedSecond) setError("second", null);
  failedSecond = null;
}

/** Opens nothing of what is on its way, or could not be opened. */
export function stop(): void {
  firsts.begin();
  if (failed) setError("opening", null);
  failed = null;
  stopSecond();
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
