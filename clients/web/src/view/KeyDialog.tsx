/** Asks for the API key, which is kept for this tab alone. */

import { useEffect, useRef } from "preact/hooks";
import { again } from "../state/masks.ts";
import { begin, isSendable, session, setKey } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { embed } from "../state/texts.ts";

export function KeyDialog() {
  const { keyWanted } = useStore(session);
  const dialog = useRef<HTMLDialogElement>(null);
  const input = useRef<HTMLInputElement>(null);
  // A dialog tells later that it was closed: the key may have been refused meanwhile, and is asked for again.
  const isTaken = useRef(false);

  useEffect(() => {
    const shown = dialog.current!;
    if (keyWanted !== null && !shown.open) shown.showModal();
    else if (keyWanted === null && shown.open) {
      isTaken.current = true;
      shown.close();
    }
  }, [keyWanted]);

  function closed() {
    if (!isTaken.current) session.set({ keyWanted: null });
    isTaken.current = false;
  }

  function submit(event: Event) {
    event.preventDefault();
    const key = input.current!.value.trim();
    if (!key) return;
    if (!isSendable(key)) {
      session.set({ keyWanted: "A key has printable ASCII characters only: this one has others." });
      return;
    }
    input.current!.value = "";
    setKey(key);
    if (!session.now.about) void begin();
    again();
    embed();
  }

  return (
    <dialog ref={dialog} aria-labelledby="key-title" onClose={closed}>
      <form onSubmit={submit}>
        <h2 id="key-title">API key</h2>
        <p>{keyWanted}</p>
        <p class="hint">It is kept until this tab is closed, and is never part of the address.</p>
        <label>
          Key
          <input ref={input} type="password" autocomplete="off" />
        </label>
        <div class="row">
          <button type="submit" class="main">
            Use it
          </button>
          <button type="button" onClick={() => dialog.current!.close()}>
            Cancel
          </button>
        </div>
      </form>
    </dialog>
  );
}
