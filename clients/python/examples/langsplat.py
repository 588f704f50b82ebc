"""What LangSplat reads of each picture, in place of its preprocess: python langsplat.py DATASET.

DATASET/images/NAME.jpg becomes DATASET/language_features/NAME_f.npy (vectors, N x D) and NAME_s.npy (4 x H x W: the row
of each pixel's vector, or -1, in each of the LISTS). Its project takes ViT-B-16, laion2b_s34b_b88k. A second argument
names pictures otherwise: "*.png".
"""

import sys
from pathlib import Path

import numpy as np
from featsvc_client import FeatsvcClient

LISTS = ("all", "subpart", "part", "whole")


def write(client: FeatsvcClient, dataset: Path, pattern: str = "*.jpg", **options) -> None:
    (dataset / "language_features").mkdir(exist_ok=True)
    for path in sorted((dataset / "images").glob(pattern)) or sys.exit(
        f"no {pattern} in {dataset / 'images'}"
    ):
        found = client.describe_objects(path, recipe="langsplat", mask_encoding="coco_rle", **options)
        rows = np.full((len(LISTS), found.height, found.width), -1, np.float32)
        for row, each in enumerate(found):
            rows[LISTS.index(each.granularity)][each.segmentation] = row
        name = dataset / "language_features" / path.stem
        np.save(f"{name}_f.npy", found.descriptors[0].array)
        np.save(f"{name}_s.npy", rows)


if __name__ == "__main__":
    with FeatsvcClient() as connected:
        write(connected, Path(sys.argv[1]), *sys.argv[2:])
