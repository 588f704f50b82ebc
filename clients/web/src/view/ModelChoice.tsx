/** Which model of a family answers, and under which licence. */

import { answering, choices, choose, type Family, isDefault, models } from "../state/models.ts";
import { useStore } from "../state/store.ts";
import { size } from "./Numbers.tsx";
import { Problem } from "./Problem.tsx";

/** Values of choices that are no models: a key has letters. */
const DEFAULT = "";
const UNKNOWN = "?";

export function ModelChoice({ family }: { family: Family }) {
  const all = useStore(models);
  const own = choices(all, family);
  const now = answering(all, family);
  const chosen = all.chosen[family];

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
