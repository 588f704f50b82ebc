"""What LangSplat reads of each picture, in place of its preprocess: python langsplat.py DATASET.

DATASET/images/NAME.jpg becomes DATASET/language_features/NAME_f.npy (vectors, N x D) and NAME_s.npy (4 x H x W: the row
of each pixel's vector, or -1, among all masks, parts of parts, parts and wholes).
"""

import sys
from pathlib import Path

import numpy as np
from featsvc_client import FeatsvcClient

WAY = {"clip": {}, "crop": {"background": "black", "squaring": "pad"}}
WHOLE, PART = 0, 1


def write(client: FeatsvcClient, dataset: Path, **options) -> None:
    pictures = sorted((dataset / "images").iterdir())
    (dataset / "language_features").mkdir(exist_ok=True)
    options = {"mask_encoding": "coco_rle", "describe": [WAY], **options}
    for path in pictures:
        found = client.describe_objects(path, **options)
        rows = np.full((4, found.height, found.width), -1, np.float32)
        for row, each in enumerate(found):
            level = {WHOLE: 3, PART: 2}.get(each.level, 1)
            rows[0][each.segmentation] = rows[level][each.segmentation] = row
        name = dataset / "language_features" / path.stem
        np.save(f"{name}_f.npy", found.descriptors[0].array)
        np.save(f"{name}_s.npy", rows)


if __name__ == "__main__":
    with FeatsvcClient() as connected:
        write(connected, Path(sys.argv[1]))
