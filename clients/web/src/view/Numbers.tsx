/** What the last answer cost, and how large the picture is. */

import { masks } from "../state/masks.ts";
import { session } from "../state/session.ts";
import { useStore } from "../state/store.ts";

export function Numbers() {
  const { tab, picture, cost, under } = useStore(session);
  const { previewAgeMs } = useStore(masks);
  return (
    <footer>
      {picture && (
        <span>
          {picture.width} × {picture.height} pixels, {size(picture.blob.size)}
        </span>
      )}
      {cost && (
        <>
          <span>{cost.model}</span>
          <span>
            answered in {ms(cost.tookMs)}: queue {ms(cost.queueMs)}, compute {ms(cost.computeMs)}
          </span>
          <span>{size(cost.bytes)} of answer</span>
        </>
      )}
      {under && (
        <span>
          pixel {under.x}, {under.y}; patch {under.column}, {under.row}
          {under.score !== null && `; ${under.score.toPrecision(3)}`}
          {under.label && `; ${under.label}`}
        </span>
      )}
      {tab === "masks" && previewAgeMs !== null && <span>preview {ms(previewAgeMs)} behind</span>}
    </footer>
  );
}

export function ms(value: number): string {
  return value >= 1000
    ? `${(value / 1000).toFixed(1)} s`
    : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`;
}
