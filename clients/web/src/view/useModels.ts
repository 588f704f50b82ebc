/** Which models there are: asked when the page is opened, and when one has answered that was not loaded before. */

import { useEffect } from "preact/hooks";
import { state } from "../api/server.ts";
import { models, take } from "../state/models.ts";
import { attempt, hasKey, session } from "../state/session.ts";
import { useStore } from "../state/store.ts";

export function useModels(): void {
  const { key, keysGiven, cost } = useStore(session);
  const answered = cost?.model;

  useEffect(ask, [key, keysGiven]);
  useEffect(() => {
    const { known } = models.now;
    const isLoaded = known.some((each) => each.key === answered && each.loaded_workers > 0);
    return answered === undefined || isLoaded ? undefined : ask();
  }, [answered]);
}

/** Asks the server; what it returns gives that up. */
function ask(): () => void {
  const ending = new AbortController();
  void attempt("models", async () => {
    await hasKey();
    take(await state(session.now.key, ending.signal));
  });
  return () => ending.abort();
}
