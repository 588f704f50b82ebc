/** The address follows what is asked, and what is asked follows an address that is opened. */

import { drawingOf, read, written } from "./address.ts";
import { begun } from "./history.ts";
import { models } from "./models.ts";
import { fromLink, openLink } from "./opening.ts";
import { linkOf } from "./picture.ts";
import { places } from "./places.ts";
import { attempt, session } from "./session.ts";
import { texts } from "./texts.ts";

let last = "";

/** Asks what the address asks. */
async function follow(): Promise<void> {
  const told = read(window.location.hash);
  session.set({ tab: told.tab });
  models.set({ chosen: told.models });
  texts.set(told.texts);
  if (told.picture !== null) {
    const isShown = () => session.now.picture !== null && linkOf(session.now.picture) === told.picture;
    if (!isShown()) await openLink(told.picture);
    const { picture } = session.now;
    if (picture && isShown()) {
      session.set({ drawing: begun(drawingOf(told, picture.width, picture.height)) });
    }
  }
  places.set(told.places);
  const { second } = told;
  if (second !== null) await attempt("second", async () => places.set({ second: await fromLink(second) }));
}

function write(): void {
  const { tab, picture, drawing } = session.now;
  const { second } = places.now;
  const question = {
    tab,
    picture: picture && linkOf(picture),
    second: second && linkOf(second),
    drawing: drawing.now,
    texts: texts.now,
    places: places.now,
    models: models.now.chosen,
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
export async function begin(): Promise<void> {
  await follow();
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
    if (window.location.hash !== last) void follow();
  });
}
