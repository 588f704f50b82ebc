/** A picture, what is painted over it, and where the pointer is on it: by mouse, by finger or by arrow keys. */

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Picture } from "../state/picture.ts";
import { overlaySize } from "./paint.ts";

/** A pixel of the picture. */
export interface Place {
  x: number;
  y: number;
}

export interface Gesture {
  /** The pointer is here; null where it has left. */
  onHover?: (place: Place | null) => void;
  onClick?: (place: Place, isSecond: boolean) => void;
  onBox?: (from: Place, to: Place, isFinished: boolean) => void;
  onKey?: (key: string, place: Place) => boolean;
}

interface Props extends Gesture {
  picture: Picture;
  label: string;
  /** Paints over the picture; called anew when it is another function. */
  paint: (canvas: HTMLCanvasElement) => void;
  /** Of what is painted over the picture; 1 where nothing is said. */
  opacity?: number;
  /** Drawn over all in pixels of the picture; `unit` is one pixel of the screen. */
  marks?: (unit: number) => ComponentChildren;
}

// A hand is not still while it clicks.
const DRAG_PX = 5;
const ARROWS: Record<string, readonly [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function Stage({ picture, label, paint, opacity = 1, marks, onHover, onClick, onBox, onKey }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const base = useRef<HTMLCanvasElement>(null);
  const overlay = useRef<HTMLCanvasElement>(null);
  const [unit, setUnit] = useState(1);
  const [cursor, setCursor] = useState<Place | null>(null);
  const pressed = useRef<{ place: Place; x: number; y: number; second: boolean; drags: boolean } | null>(
    null,
  );
  const [width, height] = overlaySize(picture.width, picture.height);

  useLayoutEffect(() => {
    const canvas = base.current!;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d")!;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture.bitmap, 0, 0, width, height);
    setCursor(null);
  }, [picture]);

  useEffect(() => {
    const box = frame.current!;
    const watch = new ResizeObserver(() => setUnit(picture.width / Math.max(1, box.clientWidth)));
    watch.observe(box);
    return () => watch.disconnect();
  }, [picture]);

  useLayoutEffect(() => paint(overlay.current!), [paint, picture]);

  function placeOf({ clientX, clientY }: { clientX: number; clientY: number }): Place {
    const { left, top, width, height } = frame.current!.getBoundingClientRect();
    const at = (offset: number, size: number, count: number) =>
      Math.min(count - 1, Math.max(0, Math.floor((offset / size) * count)));
    return { x: at(clientX - left, width, picture.width), y: at(clientY - top, height, picture.height) };
  }

  function down(event: PointerEvent) {
    if (event.button !== 0 && event.button !== 2) return;
    frame.current!.setPointerCapture(event.pointerId);
    setCursor(null);
    pressed.current = {
      place: placeOf(event),
      x: event.clientX,
      y: event.clientY,
      second: event.button === 2 || event.ctrlKey,
      drags: false,
    };
  }

  function move(event: PointerEvent) {
    const place = placeOf(event);
    const press = pressed.current;
    if (!press) {
      if (event.pointerType !== "touch") onHover?.(place);
      return;
    }
    press.drags ||= Math.hypot(event.clientX - press.x, event.clientY - press.y) > DRAG_PX;
    if (press.drags) onBox?.(press.place, place, false);
  }

  function up(event: PointerEvent) {
    const press = pressed.current;
    pressed.current = null;
    if (!press) return;
    if (press.drags) onBox?.(press.place, placeOf(event), true);
    else onClick?.(press.place, press.second);
  }

  function key(event: KeyboardEvent) {
    const here = cursor ?? { x: Math.floor(picture.width / 2), y: Math.floor(picture.height / 2) };
    const arrow = ARROWS[event.key];
    if (arrow) {
      // A fiftieth of the picture at a time, a pixel with Shift.
      const step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(picture.width, picture.height) / 50));
      const place = {
        x: Math.min(picture.width - 1, Math.max(0, here.x + step * arrow[0])),
        y: Math.min(picture.height - 1, Math.max(0, here.y + step * arrow[1])),
      };
      setCursor(place);
      onHover?.(place);
    } else if (event.key === "Enter" || event.key === " ") {
      setCursor(here);
      onClick?.(here, event.shiftKey);
    } else if (event.ctrlKey || event.metaKey || event.altKey || !onKey?.(event.key, here)) {
      return;
    }
    event.preventDefault();
  }

  return (
    <div
      class="stage"
      ref={frame}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it is used by keys
      tabIndex={0}
      role="application"
      aria-label={label}
      style={{
        aspectRatio: `${picture.width} / ${picture.height}`,
        "--shape": picture.width / picture.height,
      }}
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={up}
      onPointerCancel={() => {
        pressed.current = null;
      }}
      onPointerLeave={() => onHover?.(null)}
      onContextMenu={(event) => event.preventDefault()}
      onKeyDown={key}
      onBlur={() => setCursor(null)}
    >
      <canvas ref={base} />
      <canvas ref={overlay} class="overlay" style={{ opacity }} width={width} height={height} />
      <svg viewBox={`0 0 ${picture.width} ${picture.height}`} aria-hidden="true">
        {marks?.(unit)}
        {cursor && (
          <g class="cursor" stroke-width={1.5 * unit}>
            <path d={`M${cursor.x + 0.5 - 12 * unit} ${cursor.y + 0.5}h${24 * unit}`} />
            <path d={`M${cursor.x + 0.5} ${cursor.y + 0.5 - 12 * unit}v${24 * unit}`} />
          </g>
        )}
      </svg>
    </div>
  );
}
