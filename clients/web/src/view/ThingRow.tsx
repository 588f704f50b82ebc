/** One object in the list: its name, its score, and the candidates to choose from. */

import { colourOf, css } from "../compute/colours.ts";
import { isBlank, type Thing } from "../state/drawing.ts";
import { candidatesOf, shownIndex } from "../state/masks.ts";
import type { Picture } from "../state/picture.ts";

interface Props {
  thing: Thing;
  picture: Picture;
  isActive: boolean;
  onChange: (change: Partial<Thing>) => void;
  onChoose: (choice: number) => void;
  onActivate: () => void;
  onRemove: () => void;
}

export function ThingRow({ thing, picture, isActive, onChange, onChoose, onActivate, onRemove }: Props) {
  const found = thing.kept || isBlank(thing) ? undefined : candidatesOf(picture, thing);
  const shown = found && shownIndex(found, thing);
  const score = thing.kept?.score ?? (found && found.scores[shown!]!);
  return (
    <li class={isActive ? "active" : ""} data-answered={thing.kept || found ? "" : undefined}>
      <button
        type="button"
        class="dot"
        style={{ background: css(colourOf(thing.id - 1)) }}
        aria-pressed={isActive}
        aria-label={`Clicks go to ${thing.name}`}
        onClick={onActivate}
      />
      <input
        class="name"
        aria-label="Name of the object"
        value={thing.name}
        onFocus={onActivate}
        onChange={(event) => onChange({ name: event.currentTarget.value })}
      />
      {found && found.masks.length > 1 ? (
        <fieldset class="candidates" aria-label={`Candidates of ${thing.name}`}>
          {found.scores.map((each, index) => (
            <button
              type="button"
              key={index}
              aria-pressed={index === shown}
              aria-label={`Candidate ${index + 1}, score ${each.toFixed(2)}`}
              onClick={() => onChoose(index)}
            >
              {each.toFixed(2)}
            </button>
          ))}
        </fieldset>
      ) : (
        <span class="score">{score === undefined ? "" : score.toFixed(2)}</span>
      )}
      <button type="button" class="quiet" aria-label={`Remove ${thing.name}`} onClick={onRemove}>
        ×
      </button>
    </li>
  );
}
