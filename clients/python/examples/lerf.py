"""What LERF looks for before it encodes any picture: python lerf.py CACHE PICTURE...

CACHE is outputs/NAME/clip_openclip_ViT-B-16_laion2b_s34b_b88k. The pictures are train_dataset.image_filenames in their
order, all of one size. Writes level_0.npy to level_6.npy, pictures x (rows + 1) x (columns + 1) x D in float16, and
what tells LERF that they fit (.info).
"""

import json
import sys
from pathlib import Path

import numpy as np
from featsvc_client import FeatsvcClient

MODEL = {"model_name": "ViT-B-16", "model_pretrained": "laion2b_s34b_b88k"}


def write(client: FeatsvcClient, cache: Path, pictures: list[str], **options) -> None:
    found = [client.embed_pyramid(path, **{**MODEL, **options}) for path in pictures]
    cache.mkdir(parents=True, exist_ok=True)
    common = {
        "image_shape": [found[0].height, found[0].width],
        "model_name": cache.name.removeprefix("clip_"),
    }
    for i, level in enumerate(found[0].levels):
        # The last row and column once more: LERF looks one further than it needs.
        grids = [np.pad(each.grids[i], ((0, 1), (0, 1), (0, 0)), "edge") for each in found]
        np.save(cache / f"level_{i}.npy", np.stack(grids).astype(np.float16))
        own = {"tile_ratio": level.tile_ratio, "stride_ratio": level.stride_ratio}
        (cache / f"level_{i}.info").write_text(json.dumps(own | common))
    sizes = {"tile_size_range": [0.05, 0.5], "tile_size_res": 7, "stride_scaler": 0.5}
    cache.with_suffix(".info").write_text(json.dumps(sizes | common))


if __name__ == "__main__":
    with FeatsvcClient() as connected:
        write(connected, Path(sys.argv[1]), sys.argv[2:])
