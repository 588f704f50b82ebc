/** Text: where in the picture a text fits, while it is typed. */

import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { colourOf, css } from "../compute/colours.ts";
import { againstNegatives, cosines, labels, type Map2d, placeAt, softmax } from "../compute/grid.ts";
import { models } from "../state/models.ts";
import type { Picture } from "../state/picture.ts";
import { setUnder } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { embed, embeddingOf, learnt, lines, question, type Texts, texts } from "../state/texts.ts";
import { Code } from "./Code.tsx";
import { FeatureExport } from "./FeatureExport.tsx";
import { Legend } from "./Legend.tsx";
import { ModelChoice } from "./ModelChoice.tsx";
import { Problem } from "./Problem.tsx";
import { clear, heatImage, labelImage, paintCells, range } from "./paint.ts";
import { type Place, Stage } from "./Stage.tsx";
import { useFeatures } from "./useFeatures.ts";

const SIZES = [224, 336, 448, 672, 896];
const MOST_FACTOR = 100;

export function Text({ picture }: { picture: Picture }) {
  const state = useStore(texts);
  const { times } = useStore(learnt);
  const [opacity, setOpacity] = useState(0.75);
  useStore(models);
  const { features, again } = useFeatures("/clip/extract", picture, question(state), "text-picture");
  const grid = features?.grid ?? null;

  const maps = useMemo(
    () => (grid ? mapsOf(state, (text) => cosinesOf(grid, text)) : null),
    [grid, state, times],
  );
  const shown = maps && state.shown !== null ? maps[Math.min(state.shown, maps.length - 1)] : undefined;
  const labelled = useMemo(() => (maps && state.shown === null ? labels(maps) : null), [maps, state.shown]);

  const paint = useCallback(
    (canvas: HTMLCanvasElement) => {
      if (grid && labelled)
        paintCells(canvas, labelImage(labelled, grid.columns, grid.rows), grid.geometry, false);
      else if (grid && shown)
        paintCells(canvas, heatImage(shown, ...range(shown.values)), grid.geometry, true);
      else clear(canvas);
    },
    [grid, shown, labelled],
  );

  function hovered(place: Place | null) {
    if (!place || !grid) {
      setUnder(null);
      return;
    }
    const at = placeAt(grid.geometry, place.x, place.y);
    const patch = { row: Math.floor(at / grid.columns), column: at % grid.columns };
    const score = shown?.values[at];
    setUnder({
      ...place,
      ...patch,
      score: score ?? null,
      label: labelled ? (state.texts[labelled[at]!] ?? "") : "",
    });
  }

  useEffect(embed, []);

  return (
    <>
      <Stage
        picture={picture}
        label={`${picture.name}, and over it where the text fits best`}
        paint={paint}
        opacity={opacity}
        onHover={hovered}
      />
      <aside class="panel" aria-label="Text">
        <label class="field">
          Texts, one a line
          <textarea
            rows={3}
            placeholder="a red circle"
            defaultValue={state.texts.join("\n")}
            onInput={(event) => texts.set({ texts: lines(event.currentTarget.value) })}
          />
        </label>
        <label class="field">
          But not, one a line
          <textarea
            rows={2}
            placeholder="a blue star"
            defaultValue={state.negatives.join("\n")}
            onInput={(event) => texts.set({ negatives: lines(event.currentTarget.value) })}
          />
        </label>
        <Problem place="text" retry={embed} />
        <Problem place="text-picture" retry={again} />
        {state.texts.length > 0 && (
          <Legend
            names={state.texts}
            colours={state.texts.map((_, index) => css(colourOf(index)))}
            chosen={state.shown}
            onChoose={(index) => texts.set({ shown: index })}
          />
        )}
        <label class="field">
          Softmax {state.factor === 0 ? "off: cosines" : `× ${state.factor}`}
          <input
            type="range"
            min={0}
            max={MOST_FACTOR}
            value={state.factor}
            onInput={(event) => texts.set({ factor: Number(event.currentTarget.value) })}
          />
        </label>
        <label class="field">
          Strength of the map
          <input
            type="range"
            min={0.2}
            max={1}
            step={0.05}
            value={opacity}
            onInput={(event) => setOpacity(Number(event.currentTarget.value))}
          />
        </label>
        <label class="field">
          Picture's shorter side, in pixels
          <select
            value={state.size}
            onChange={(event) => texts.set({ size: Number(event.currentTarget.value) })}
          >
            {SIZES.map((size) => (
              <option key={size} value={size}>
                {size}
              </option>
            ))}
          </select>
        </label>
        <ModelChoice family="clip" />
        <FeatureExport
          name={`${picture.name}-clip`}
          features={features}
          map={shown ?? null}
          labels={labelled}
        />
        <Code />
      </aside>
    </>
  );

  function cosinesOf(found: NonNullable<typeof grid>, text: string): Map2d | null {
    const embedding = embeddingOf(text);
    return embedding ? cosines(found, embedding) : null;
  }
}

/** The map of each text; null until all that they need is known. */
function mapsOf({ texts, negatives, factor }: Texts, map: (text: string) => Map2d | null): Map2d[] | null {
  const positive = texts.map(map);
  const negative = negatives.map(map);
  const isWhole = (all: (Map2d | null)[]): all is Map2d[] => all.length > 0 && !all.includes(null);
  if (!isWhole(positive)) return null;
  // As the server has it: against negatives a softmax of 0 is one of 1.
  if (isWhole(negative)) return positive.map((each) => againstNegatives(each, negative, factor || 1));
  return factor === 0 ? positive : positive.map((each) => softmax(each, factor));
}
