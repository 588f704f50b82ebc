"""Vectors of 3D masks as OpenMask3D reads them, in place of its compute_features_single_scene: of SCENE.

SCENE/color/0.jpg and SCENE/masks/0.png (of each pixel 1 + the number of the 3D mask that is seen there, or 0) become
SCENE/scene_openmask3d_features.npy, a row for each 3D mask: the mean of its vectors in the VIEWS that show most of it.
A second argument names pictures otherwise: "*.png".
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from featsvc_client import FeatsvcClient
from PIL import Image

VIEWS = 5


def write(client: FeatsvcClient, scene: Path, pattern: str = "*.jpg", **options) -> None:
    seen = defaultdict(list)
    for path in sorted((scene / "color").glob(pattern)) or sys.exit(f"no {pattern} in {scene / 'color'}"):
        numbers = np.asarray(Image.open(scene / "masks" / f"{path.stem}.png"))
        found = client.describe_objects(path, recipe="openmask3d", label_map=numbers, **options)
        vectors = found.descriptors[0].array
        for number, each, vector in zip(np.unique(numbers[numbers > 0]), found, vectors, strict=True):
            seen[int(number) - 1].append((each.area, vector))
    size = (max(seen, default=-1) + 1, vectors.shape[1])
    features = np.zeros(size)
    for number, views in seen.items():
        best = sorted(views, key=lambda view: view[0], reverse=True)[:VIEWS]
        features[number] = np.mean([vector for _, vector in best], axis=0)
    np.save(scene / "scene_openmask3d_features.npy", features)


if __name__ == "__main__":
    with FeatsvcClient() as connected:
        write(connected, Path(sys.argv[1]), *sys.argv[2:])
