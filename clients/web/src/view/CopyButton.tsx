/** A button that copies a text, and says when it has. */

import { useEffect, useState } from "preact/hooks";
import { copy } from "../export/clipboard.ts";
import { attempt, say } from "../state/session.ts";

const SHOWN_MS = 2000;

interface Props {
  label: string;
  /** Where it is said that the browser does not allow it. */
  place: string;
  class?: string;
  text: () => string;
}

export function CopyButton({ label, place, class: name, text }: Props) {
  const [times, setTimes] = useState(0);
  const [isShown, setShown] = useState(false);

  useEffect(() => {
    if (times === 0) return;
    setShown(true);
    const timer = setTimeout(() => setShown(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [times]);

  async function act() {
    if (!(await attempt(place, () => copy(text())))) return;
    setTimes(times + 1);
    say("copied");
  }

  return (
    <button type="button" class={name} onClick={() => void act()}>
      {isShown ? "Copied" : label}
    </button>
  );
}
