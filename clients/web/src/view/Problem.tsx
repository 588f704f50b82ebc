/** What was refused, in the server's own words, beside what caused it. */

import { session, setError } from "../state/session.ts";
import { useStore } from "../state/store.ts";

export function Problem({ place, retry }: { place: string; retry?: () => void }) {
  const words = useStore(session).errors[place];
  return (
    <div role="alert" class={words ? "problem" : "hidden"}>
      {words && (
        <>
          <p>{words}</p>
          {retry && (
            <button type="button" onClick={retry}>
              Try again
            </button>
          )}
          <button
            type="button"
            class="quiet"
            aria-label="Hide this message"
            onClick={() => setError(place, null)}
          >
            ×
          </button>
        </>
      )}
    </div>
  );
}
