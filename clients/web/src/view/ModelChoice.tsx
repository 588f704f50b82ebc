/** Which model of a family answers, and under which licence. */

import { useEffect } from "preact/hooks";
import { state } from "../api/server.ts";
import { answering, choices, choose, type Family, isDefault, models, take } from "../state/models.ts";
import { attempt, hasKey, session } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { size } from "./Numbers.tsx";
import { Problem } from "./Problem.tsx";

/** Values of choices that are no models: a key has letters. */
const DEFAULT = "";
const UNKNOWN = "?";

export function ModelChoice({ family }: { family: Family }) {
  const all = useStore(models);
  const { key, keysGiven, cost } = useStore(session);
  const own = choices(all, family);
  const now = answering(all, family);
  const chosen = all.chosen[family];
  // An answer may have loaded a model.
  const answered = cost?.model;

  useEffect(() => {
    const ending = new AbortController();
    void attempt("models", async () => {
      await hasKey();
      take(await state(session.now.key, ending.signal));
    });
    return () => ending.abort();
  }, [key, keysGiven, answered]);

  return (
    <section aria-labelledby="model">
      <h2 id="model">Model</h2>
      <Problem place="models" />
      {own.length > 0 && (
        <select
          aria-label="Model that answers"
          value={now?.key ?? (chosen ? UNKNOWN : DEFAULT)}
          onChange={({ currentTarget: { value } }) =>
            choose(family, own.find((each) => each.key === value) ?? null)
          }
        >
          {!own.some((each) => isDefault(all, each)) && <option value={DEFAULT}>the server's default</option>}
          {chosen && !now && (
            <option value={UNKNOWN} disabled>
              one that is not here
            </option>
          )}
          {own.map((each) => (
            <option key={each.key} value={each.key}>
              {each.key}
              {each.loaded_workers ? ", loaded" : each.available ? "" : ", not here"}
            </option>
          ))}
        </select>
      )}
      {now && (
        <p class="hint">
          {now.description}. Licence: {now.license}.{" "}
          {Number(now.size_bytes) > 0 && `${size(Number(now.size_bytes))}.`}
        </p>
      )}
    </section>
  );
}
