/** Masks that the server finds: of what texts name, or of everything. */

import { Fragment } from "preact";
import { useState } from "preact/hooks";
import { colourOf, css } from "../compute/colours.ts";
import {
  type Found,
  findEverything,
  finding,
  findNamed,
  forget,
  highlight,
  keep,
  type Preset,
} from "../state/finding.ts";
import { useStore } from "../state/store.ts";
import { lines, texts } from "../state/texts.ts";
import { Problem } from "./Problem.tsx";

const MOST_MATCHES = 20;

export function Finding() {
  const { found } = useStore(finding);
  const { texts: names } = useStore(texts);
  const [preset, setPreset] = useState<Preset>("coarse");
  const [most, setMost] = useState(1);

  return (
    <section aria-labelledby="finding">
      <h2 id="finding">Find</h2>
      {found ? (
        <Fragment key="found">
          <p class="hint" role="status">
            {found.regions.length} masks: move over the picture to see them, click to keep one.
          </p>
          <Named found={found} />
          <div class="row">
            <button type="button" onClick={forget}>
              Done
            </button>
          </div>
        </Fragment>
      ) : (
        <Fragment key="asking">
          <textarea
            rows={2}
            aria-label="Names of things, one a line"
            placeholder="a red circle"
            defaultValue={names.join("\n")}
            onInput={(event) => texts.set({ texts: lines(event.currentTarget.value) })}
          />
          <div class="row">
            <label class="most">
              <input
                type="number"
                min={1}
                max={MOST_MATCHES}
                value={most}
                onChange={(event) => setMost(Number(event.currentTarget.value))}
              />
              of each at most
            </label>
            <button type="button" disabled={names.length === 0} onClick={() => void findNamed(most)}>
              Find by name
            </button>
          </div>
          <Problem place="named" retry={() => void findNamed(most)} />
          <div class="row">
            <select
              aria-label="Preset"
              value={preset}
              onChange={(event) => setPreset(event.currentTarget.value as Preset)}
            >
              <option value="coarse">coarse</option>
              <option value="fine_grained">fine, takes long</option>
            </select>
            <button type="button" onClick={() => void findEverything(preset)}>
              Find everything
            </button>
          </div>
          <Problem place="everything" retry={() => void findEverything(preset)} />
        </Fragment>
      )}
    </section>
  );
}

/** The texts with their colours, and of each the masks that fit it, the best first. */
function Named({ found }: { found: Found }) {
  if (found.texts.length === 0) return null;
  return (
    <ul class="found" aria-label="What was found">
      {found.texts.map((name, text) => (
        <li key={text}>
          <span class="swatch" style={{ background: css(colourOf(text)) }} />
          <span class="name">{name}</span>
          {!found.regions.some((region) => region.text === text) && <span class="hint">nothing</span>}
          {found.regions.map(
            (region, index) =>
              region.text === text && (
                <button
                  type="button"
                  key={index}
                  aria-label={`Keep ${name}, score ${region.score.toFixed(2)}`}
                  onClick={() => keep(region)}
                  onMouseEnter={() => highlight(index)}
                  onMouseLeave={() => highlight(null)}
                  onFocus={() => highlight(index)}
                  onBlur={() => highlight(null)}
                >
                  {region.score.toFixed(2)}
                </button>
              ),
          )}
        </li>
      ))}
    </ul>
  );
}
