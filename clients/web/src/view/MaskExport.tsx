/** The masks on the screen as files. */

import { npy } from "../compute/npy.ts";
import { save, saveJson, savePng } from "../export/files.ts";
import { canvasOf, coco, geoJson, labelMap, type Named, svg } from "../export/masks.ts";
import { activeOf } from "../state/drawing.ts";
import { finished, maskOf, masks } from "../state/masks.ts";
import type { Picture } from "../state/picture.ts";
import { session } from "../state/session.ts";
import { useStore } from "../state/store.ts";

export function MaskExport({ picture }: { picture: Picture }) {
  useStore(masks);
  const { drawing } = useStore(session);
  const { width, height, name } = picture;
  const stem = name.replace(/\.[^.]*$/, "");
  const all = () =>
    finished().map(({ thing, mask, rle, score }): Named => ({ name: thing.name, mask, rle, score }));
  const active = activeOf(drawing.now);

  async function png() {
    const found = finished();
    const shown = found.find(({ thing }) => thing.id === active.id) ?? found[0];
    if (shown) await savePng(`${stem}-${shown.thing.name}.png`, canvasOf(shown.mask));
  }

  const forms: [string, string, () => void][] = [
    ["PNG", "The mask of the object that clicks go to, white on black", () => void png()],
    [
      "COCO",
      "All masks as run lengths, for pycocotools",
      () => saveJson(`${stem}.coco.json`, coco(name, all(), width, height)),
    ],
    [
      "GeoJSON",
      "All masks as polygons with holes, in pixels",
      () => saveJson(`${stem}.geojson`, geoJson(all())),
    ],
    ["SVG", "All masks as paths", () => save(`${stem}.svg`, svg(all(), width, height), "image/svg+xml")],
    [
      "Labels",
      "One number for each pixel, as a NumPy file",
      () => {
        const labels = new Uint8Array(labelMap(all(), width, height).buffer);
        save(`${stem}-labels.npy`, npy("<u2", [height, width], labels), "application/x-npy");
      },
    ],
  ];
  const isEmpty = !drawing.now.things.some((thing) => maskOf(picture, thing));
  return (
    <section aria-labelledby="export">
      <h2 id="export">Save</h2>
      <div class="row">
        {forms.map(([form, title, act]) => (
          <button type="button" key={form} title={title} onClick={act} disabled={isEmpty}>
            {form}
          </button>
        ))}
      </div>
    </section>
  );
}
