/** Features and maps as NumPy files. */

import type { Map2d } from "../compute/grid.ts";
import { npy } from "../compute/npy.ts";
import { save } from "../export/files.ts";
import type { Features } from "../state/features.ts";

interface Props {
  name: string;
  features: Features | null;
  map: Map2d | null;
  /** Not there where there is no map of labels in any case. */
  labels?: Uint16Array | null;
}

const NPY = "application/x-npy";

export function FeatureExport({ name, features, map, labels }: Props) {
  function saveFeatures({ grid, halves }: Features) {
    save(`${name}.npy`, npy("<f2", [grid.rows, grid.columns, grid.channels], halves), NPY);
  }

  function saveMap({ rows, columns, values }: Map2d) {
    save(`${name}-map.npy`, npy("<f4", [rows, columns], new Uint8Array(values.slice().buffer)), NPY);
  }

  function saveLabels({ grid }: Features, found: Uint16Array) {
    save(
      `${name}-labels.npy`,
      npy("<u2", [grid.rows, grid.columns], new Uint8Array(found.slice().buffer)),
      NPY,
    );
  }

  return (
    <section aria-labelledby="export">
      <h2 id="export">Save</h2>
      <div class="row">
        <button type="button" disabled={!features} onClick={() => features && saveFeatures(features)}>
          Features
        </button>
        <button type="button" disabled={!map} onClick={() => map && saveMap(map)}>
          Map
        </button>
        {labels !== undefined && (
          <button
            type="button"
            disabled={!labels}
            onClick={() => features && labels && saveLabels(features, labels)}
          >
            Labels
          </button>
        )}
      </div>
    </section>
  );
}
