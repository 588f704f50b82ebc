/** Similar places: point at one, and see how similar all others are, in a second picture too. */

import { useCallback, useMemo, useState } from "preact/hooks";
import { cosines, featureOf, type Grid, type Map2d, placeAt } from "../compute/grid.ts";
import { type Basis, basis, colours } from "../compute/pca.ts";
import { models } from "../state/models.ts";
import { closeSecond, second } from "../state/opening.ts";
import type { Picture } from "../state/picture.ts";
import { FACETS, type Facet, places, question } from "../state/places.ts";
import { setUnder } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { Code } from "./Code.tsx";
import { FeatureExport } from "./FeatureExport.tsx";
import { ModelChoice } from "./ModelChoice.tsx";
import { Pictures } from "./Pictures.tsx";
import { Problem } from "./Problem.tsx";
import { clear, colourImage, heatImage, paintCells } from "./paint.ts";
import { type Place, Stage } from "./Stage.tsx";
import { useFeatures } from "./useFeatures.ts";

const SIZES = [224, 448, 672, 896];
const MOST_LAYERS = 24;

export function Places({ picture }: { picture: Picture }) {
  const state = useStore(places);
  const { pinned } = state;
  const [hovered, setHovered] = useState<Place | null>(null);
  useStore(models);
  const asked = question(state);
  const first = useFeatures("/dino/extract", picture, asked, "places");
  const other = useFeatures("/dino/extract", state.second, asked, second.place);
  const grid = first.features?.grid ?? null;
  const otherGrid = other.features?.grid ?? null;
  const place = hovered ?? pinned;
  const axes = useMemo(() => (grid && state.view === "colours" ? basis(grid) : null), [grid, state.view]);
  const vector = useMemo(
    () => (grid && place ? featureOf(grid, placeAt(grid.geometry, place.x, place.y)) : null),
    [grid, place],
  );
  const map = useMemo(() => (grid && vector ? cosines(grid, vector) : null), [grid, vector]);
  const paint = usePaint(grid, axes, map);
  const otherMap = useMemo(
    () => (otherGrid && vector ? cosines(otherGrid, vector) : null),
    [otherGrid, vector],
  );

  const otherPaint = usePaint(otherGrid, axes, otherMap);

  function moved(to: Place | null) {
    setHovered(to);
    setUnder(to && grid && under(grid, to, map));
  }

  return (
    <>
      <div class={state.second ? "stages two" : "stages"}>
        <Stage
          picture={picture}
          label={`${picture.name}. Point at a place to see where it is similar; click, or press Enter, to keep it.`}
          paint={paint}
          opacity={axes || map ? 0.8 : 0}
          marks={(unit) =>
            place && (
              <circle
                class="place"
                cx={place.x + 0.5}
                cy={place.y + 0.5}
                r={6 * unit}
                stroke-width={2 * unit}
              />
            )
          }
          onHover={moved}
          onClick={(to) => places.set({ pinned: to })}
        />
        {state.second && (
          <div data-second="">
            <Stage
              picture={state.second}
              label={`${state.second.name}, the second picture`}
              paint={otherPaint}
              opacity={axes || otherMap ? 0.8 : 0}
            />
          </div>
        )}
      </div>
      <aside class="panel" aria-label="Similar places">
        <fieldset class="choice">
          <legend class="hidden">What is shown</legend>
          {(["similar", "colours"] as const).map((view) => (
            <label key={view}>
              <input
                type="radio"
                name="view"
                checked={state.view === view}
                onChange={() => places.set({ view })}
              />
              <span>{view === "similar" ? "Similar places" : "Main colours"}</span>
            </label>
          ))}
        </fieldset>
        <p class="hint">
          {state.view === "similar"
            ? "Move over the picture: bright is similar, dark is not. A click keeps the place."
            : "Three principal components of the features as red, green and blue, the same for both pictures."}
        </p>
        <Problem place="places" retry={first.again} />
        <Second picture={state.second} again={other.again} />
        <Settings />
        <ModelChoice family="dino" />
        <FeatureExport name={`${picture.name}-dino`} features={first.features} map={map} />
        <Code />
      </aside>
    </>
  );
}

/** Paints main colours where there is a basis, else the map. */
function usePaint(
  grid: Grid | null,
  axes: Basis | null,
  map: Map2d | null,
): (canvas: HTMLCanvasElement) => void {
  const coloured = useMemo(
    () => (grid && axes ? colourImage(colours(grid, axes), grid.columns, grid.rows) : null),
    [grid, axes],
  );
  return useCallback(
    (canvas: HTMLCanvasElement) => {
      if (grid && coloured) paintCells(canvas, coloured, grid.geometry, false);
      // Cosines below 0 say no more than 0 does: other.
      else if (grid && map) paintCells(canvas, heatImage(map, 0, 1), grid.geometry, true);
      else clear(canvas);
    },
    [grid, coloured, map],
  );
}

function under(grid: Grid, { x, y }: Place, map: Map2d | null) {
  const at = placeAt(grid.geometry, x, y);
  const [row, column] = [Math.floor(at / grid.columns), at % grid.columns];
  return { x, y, row, column, score: map?.values[at] ?? null, label: "" };
}

/** Opened as the first one is; what is dropped here, or pasted while the focus is here, is opened here too. */
function Second({ picture, again }: { picture: Picture | null; again: () => void }) {
  return (
    <section aria-labelledby="second" tabIndex={-1} data-second="">
      <h2 id="second">Second picture</h2>
      <Pictures
        opening={second}
        picture={picture}
        name="second picture"
        retry={() => second.again() || again()}
      >
        {picture && (
          <button type="button" class="quiet" aria-label="No second picture" onClick={closeSecond}>
            ×
          </button>
        )}
      </Pictures>
      <p class="hint">
        {picture ? `${picture.name}.` : "Open one, drop it here, or click here and paste it or its address."}
      </p>
    </section>
  );
}

function Settings() {
  const { facet, layer, stride, size } = useStore(places);
  return (
    <section aria-labelledby="settings">
      <h2 id="settings">Features</h2>
      <div class="fields">
        <label class="field">
          Facet
          <select
            value={facet}
            onChange={(event) => places.set({ facet: event.currentTarget.value as Facet })}
          >
            {FACETS.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <label class="field">
          Layer
          <input
            type="number"
            min={-MOST_LAYERS}
            max={MOST_LAYERS - 1}
            value={layer}
            onChange={(event) => places.set({ layer: Math.trunc(Number(event.currentTarget.value)) })}
          />
        </label>
        <label class="field">
          Stride
          <input
            type="number"
            min={1}
            max={64}
            placeholder="patch"
            value={stride ?? ""}
            onChange={({ currentTarget: { value } }) =>
              places.set({ stride: value ? Math.trunc(Number(value)) : null })
            }
          />
        </label>
        <label class="field">
          Shorter side
          <select value={size} onChange={(event) => places.set({ size: Number(event.currentTarget.value) })}>
            {SIZES.map((each) => (
              <option key={each} value={each}>
                {each} px
              </option>
            ))}
          </select>
        </label>
      </div>
    </section>
  );
}
