/** The address follows what is asked, and what is asked follows an address that is opened. */

import { drawingOf, read, type Told, written } from "./address.ts";
import { begun } from "./history.ts";
import { models } from "./models.ts";
import { first, second } from "./opening.ts";
import { linkOf, type Picture } from "./picture.ts";
import { places } from "./places.ts";
import { session } from "./session.ts";
import { texts } from "./texts.ts";

/** What was told and is not shown: its picture is on its way, or could not be had; until another one is opened. */
interface Awaited {
  told: Told;
  /** What is shown instead. */
  instead: Picture | null;
}

let last = "";
let awaited: Awaited | null = null;
let awaitedSecond: Awaited | null = null;

/** Asks what the address asks, and nothing of what an address before it asked. */
function follow(): void {
  const told = read(window.location.hash);
  const { pinned, ...settings } = told.places;
  first.stop();
  second.stop();
  awaited = awaitedSecond = null;
  session.set({ tab: told.tab });
  models.set({ chosen: told.models });
  texts.set(told.texts);
  places.set(settings);
  if (told.picture === null) places.set({ pinned: pinned ?? places.now.pinned });
  else if (isLinked(session.now.picture, told.picture)) show(told);
  else {
    awaited = { told, instead: session.now.picture };
    void first.link(told.picture);
  }
  if (told.second !== null && !isLinked(places.now.second, told.second)) {
    awaitedSecond = { told, instead: places.now.second };
    void second.link(told.second);
  }
}

function isLinked(picture: Picture | null, link: string | null): boolean {
  return picture !== null && linkOf(picture) === link;
}

/** Draws what was told of the picture that is shown. */
function show(told: Told): void {
  const { width, height } = session.now.picture!;
  places.set({ pinned: told.places.pinned ?? null });
  session.set({ drawing: begun(drawingOf(told, width, height)) });
}

/** Ends the waiting when a picture was opened: the one that was told, or another. */
function settle(): void {
  const { picture } = session.now;
  if (awaitedSecond && places.now.second !== awaitedSecond.instead) awaitedSecond = null;
  if (!awaited || picture === awaited.instead) return;
  const { told } = awaited;
  awaited = null;
  if (isLinked(picture, told.picture)) show(told);
}

function write(): void {
  const { tab, picture, drawing } = session.now;
  const shown = places.now;
  const question = {
    tab,
    picture: picture && linkOf(picture),
    second: awaitedSecond ? awaitedSecond.told.second : shown.second && linkOf(shown.second),
    drawing: drawing.now,
    texts: texts.now,
    places: shown,
    models: models.now.chosen,
    ...(awaited && {
      picture: awaited.told.picture,
      // Its size is not known yet.
      drawing: drawingOf(awaited.told, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
      places: { ...shown, pinned: awaited.told.places.pinned ?? null },
    }),
  };
  const now = written(question);
  if (now === last) return;
  last = now;
  // Steps of a drawing have an undo of their own: the browser's way back leads off the page.
  window.history.replaceState(null, "", now);
}

/** The address of what is asked now. */
export function link(): string {
  write();
  return window.location.href;
}

/** Begins to follow: first the page the address, then each the other. */
export function begin(): void {
  session.subscribe(settle);
  places.subscribe(settle);
  follow();
  let waits = false;
  const soon = () => {
    if (waits) return;
    waits = true;
    // Browsers take some hundred changes of an address in half a minute, and no more.
    setTimeout(() => {
      waits = false;
      write();
    }, 250);
  };
  session.subscribe(soon);
  texts.subscribe(soon);
  places.subscribe(soon);
  models.subscribe(soon);
  soon();
  window.addEventListener("hashchange", () => {
    if (window.location.hash !== last) follow();
  });
}
