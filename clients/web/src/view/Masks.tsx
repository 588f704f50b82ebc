/** Masks: click, drag a box, hover; several objects, their candidates, everything at once. */

import { useCallback, useMemo, useState } from "preact/hooks";
import { colourOf, css, type Rgb } from "../compute/colours.ts";
import { type Bitmap, sampled } from "../compute/rle.ts";
import {
  activeOf,
  type Box,
  changed,
  type Drawing,
  EMPTY,
  isBlank,
  type Thing,
  withBox,
  withoutPoint,
  withoutThing,
  withPoint,
  withThing,
} from "../state/drawing.ts";
import { finding, highlight, keep } from "../state/finding.ts";
import { again, candidatesOf, hover, leave, maskOf, masks } from "../state/masks.ts";
import { models } from "../state/models.ts";
import type { Picture } from "../state/picture.ts";
import { draw, redo, session, undo } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { Code } from "./Code.tsx";
import { Finding } from "./Finding.tsx";
import { MaskExport } from "./MaskExport.tsx";
import { ModelChoice } from "./ModelChoice.tsx";
import { Problem } from "./Problem.tsx";
import { clear, overlaySize, type Painted, paintMasks } from "./paint.ts";
import { type Place, Stage } from "./Stage.tsx";
import { SteadyButton } from "./SteadyButton.tsx";
import { ThingRow } from "./ThingRow.tsx";

type Mode = "add" | "leave-out";

const WHITE: Rgb = [255, 255, 255];
const POINT_PX = 7;

export function Masks({ picture }: { picture: Picture }) {
  const { drawing } = useStore(session);
  const { chosen } = useStore(models);
  const { answered, preview } = useStore(masks);
  const { found, highlighted } = useStore(finding);
  const [mode, setMode] = useState<Mode>("add");
  const [dragged, setDragged] = useState<Box | null>(null);
  const now = drawing.now;
  const active = activeOf(now);
  const [width, height] = overlaySize(picture.width, picture.height);
  const candidates = useMemo(
    () => found?.regions.map(({ rle }) => sampled(rle, width, height)) ?? [],
    [found, width, height],
  );

  const painted = useMemo(() => {
    const all: Painted[] = now.things.flatMap((thing) => {
      const found = maskOf(picture, thing);
      if (!found) return [];
      const mask = sampled(found.rle, width, height);
      return [{ mask, colour: colourOf(thing.id - 1), faint: found.score === null }];
    });
    found?.regions.forEach(({ text }, index) => {
      if (text !== null) all.push({ mask: candidates[index]!, colour: colourOf(text), faint: true });
    });
    if (highlighted !== null) all.push({ mask: candidates[highlighted]!, colour: WHITE, faint: false });
    return all;
  }, [picture, now, answered, chosen, found, candidates, highlighted, width, height]);

  const paint = useCallback(
    (canvas: HTMLCanvasElement) => {
      const shown: Painted[] = preview
        ? [
            ...painted,
            { mask: sampled(preview, width, height), colour: colourOf(active.id - 1), faint: true },
          ]
        : painted;
      if (shown.length === 0) clear(canvas);
      else paintMasks(canvas, shown);
    },
    [painted, preview, active.id, width, height],
  );

  function hovered(place: Place | null) {
    if (!place) {
      leave();
      highlight(null);
    } else if (found) highlight(smallestAt(candidates, place, picture));
    else if (mode === "add" && pointAt(now, place, unitOf(picture)) === null) hover(place.x, place.y);
    else leave();
  }

  function clicked(place: Place, isSecond: boolean) {
    if (found) {
      const index = smallestAt(candidates, place, picture);
      if (index !== null) keep(found.regions[index]!);
      return;
    }
    leave();
    const hit = pointAt(now, place, unitOf(picture));
    if (hit) draw(withoutPoint(now, hit.thing.id, hit.index));
    else draw(withPoint(now, { ...place, label: isSecond !== (mode === "leave-out") ? 0 : 1 }));
  }

  function boxed(from: Place, to: Place, isFinished: boolean) {
    if (found) return;
    leave();
    const box: Box = [
      Math.min(from.x, to.x),
      Math.min(from.y, to.y),
      Math.max(from.x, to.x) + 1,
      Math.max(from.y, to.y) + 1,
    ];
    setDragged(isFinished ? null : box);
    if (isFinished) draw(withBox(now, box));
  }

  function pressed(key: string, place: Place): boolean {
    if (key === "n") clicked(place, mode === "add");
    else if (key === "o") draw(withThing(now));
    else if (key === "Backspace" || key === "Delete") {
      if (active.points.length === 0) return false;
      draw(withoutPoint(now, active.id, active.points.length - 1));
    } else if (["1", "2", "3"].includes(key)) choose(active, Number(key) - 1);
    else return false;
    return true;
  }

  function choose(thing: Thing, choice: number) {
    if (choice < (candidatesOf(picture, thing)?.masks.length ?? 0)) draw(changed(now, thing.id, { choice }));
  }

  const marks = (unit: number) => (
    <>
      {now.things.map((thing) => (
        <Prompts key={thing.id} thing={thing} unit={unit} isActive={thing.id === active.id} />
      ))}
      {dragged && <BoxMark box={dragged} unit={unit} colour={css(colourOf(active.id - 1))} />}
    </>
  );

  return (
    <>
      <Stage
        picture={picture}
        label={`${picture.name}. Click on what you want a mask of. Arrow keys move the cursor, Enter adds a point, N leaves a place out, O begins a further object, 1 to 3 choose a candidate.`}
        paint={paint}
        marks={marks}
        onHover={hovered}
        onClick={clicked}
        onBox={boxed}
        onKey={pressed}
      />
      <aside class="panel" aria-label="Masks">
        <div class="row">
          <fieldset class="choice">
            <legend class="hidden">A click</legend>
            {(["add", "leave-out"] as const).map((each) => (
              <label key={each}>
                <input type="radio" name="mode" checked={mode === each} onChange={() => setMode(each)} />
                <span>{each === "add" ? "+ Add" : "− Leave out"}</span>
              </label>
            ))}
          </fieldset>
          <SteadyButton onClick={undo} isIdle={drawing.past.length === 0} title="Ctrl+Z">
            Undo
          </SteadyButton>
          <SteadyButton onClick={redo} isIdle={drawing.future.length === 0} title="Ctrl+Shift+Z">
            Redo
          </SteadyButton>
        </div>
        <p class="hint">
          Click adds to the object, right click or N leaves a place out. Drag a box around it. A click on a
          point takes it away.
        </p>
        <Problem place="masks" retry={again} />
        <ul class="things" aria-label="Objects">
          {now.things.map((thing) => (
            <ThingRow
              key={thing.id}
              thing={thing}
              picture={picture}
              isActive={thing.id === active.id}
              onChange={(change) => draw(changed(now, thing.id, change))}
              onChoose={(choice) => choose(thing, choice)}
              onActivate={() => session.set({ drawing: { ...drawing, now: { ...now, active: thing.id } } })}
              onRemove={() => draw(withoutThing(now, thing.id))}
            />
          ))}
        </ul>
        <div class="row">
          <SteadyButton onClick={() => draw(withThing(now))} isIdle={now.things.some(isBlank)}>
            New object
          </SteadyButton>
          <SteadyButton onClick={() => draw(EMPTY)} isIdle={now.things.every(isBlank)}>
            Clear all
          </SteadyButton>
        </div>
        <Finding />
        <ModelChoice family="sam2" />
        <MaskExport picture={picture} />
        <Code />
      </aside>
    </>
  );
}

function Prompts({ thing, unit, isActive }: { thing: Thing; unit: number; isActive: boolean }) {
  const colour = css(colourOf(thing.id - 1));
  return (
    <g opacity={isActive ? 1 : 0.6}>
      {thing.box && <BoxMark box={thing.box} unit={unit} colour={colour} />}
      {thing.points.map(({ x, y, label }, index) => {
        const [cx, cy, arm] = [x + 0.5, y + 0.5, 3.5 * unit];
        return (
          <g key={index} data-point={label}>
            <circle
              cx={cx}
              cy={cy}
              r={POINT_PX * unit}
              fill={label ? colour : "#1b1b1f"}
              stroke="#fff"
              stroke-width={2 * unit}
            />
            <path
              d={`M${cx - arm} ${cy}h${2 * arm}${label ? `M${cx} ${cy - arm}v${2 * arm}` : ""}`}
              stroke="#fff"
              stroke-width={2 * unit}
            />
          </g>
        );
      })}
    </g>
  );
}

function BoxMark({ box: [x0, y0, x1, y1], unit, colour }: { box: Box; unit: number; colour: string }) {
  const shape = { x: x0, y: y0, width: x1 - x0, height: y1 - y0, fill: "none" };
  return (
    <>
      <rect {...shape} stroke="#fff" stroke-width={3.5 * unit} opacity={0.7} />
      <rect {...shape} stroke={colour} stroke-width={2 * unit} data-box="" />
    </>
  );
}

function unitOf(picture: Picture): number {
  const stage = document.querySelector(".stage");
  return picture.width / Math.max(1, stage?.clientWidth ?? picture.width);
}

function pointAt(drawing: Drawing, { x, y }: Place, unit: number): { thing: Thing; index: number } | null {
  for (const thing of drawing.things) {
    const index = thing.points.findIndex(
      (point) => Math.hypot(point.x - x, point.y - y) <= (POINT_PX + 2) * unit,
    );
    if (index >= 0) return { thing, index };
  }
  return null;
}

/** Of masks over each other the smallest is meant: the larger ones can be pointed at elsewhere. */
function smallestAt(all: readonly Bitmap[], { x, y }: Place, picture: Picture): number | null {
  let [best, least] = [null as number | null, Number.POSITIVE_INFINITY];
  all.forEach(({ width, height, pixels }, index) => {
    const at = Math.floor((y * height) / picture.height) * width + Math.floor((x * width) / picture.width);
    if (pixels[at] === 0) return;
    const size = pixels.reduce((sum, pixel) => sum + pixel, 0);
    if (size < least) [best, least] = [index, size];
  });
  return best;
}
