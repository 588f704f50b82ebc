"""What ConceptGraphs reads of each picture, as its generate_gsa_results writes it with --class_set none.

python conceptgraphs.py SCENE/results: results/0.jpg becomes SCENE/gsa_detections_none/0.pkl.gz, with boxes, scores,
masks, crops, their vectors and that of the text "item". Other files, such as depth, are passed over; a second argument
names pictures otherwise: "rgb_*.png".
"""

import gzip
import pickle
import sys
from pathlib import Path

import numpy as np
from featsvc_client import FeatsvcClient
from PIL import Image

MARGIN = np.array([-20, -20, 20, 20])


def write(client: FeatsvcClient, pictures: Path, pattern: str = "*.jpg", **options) -> None:
    (out := pictures.parent / "gsa_detections_none").mkdir(exist_ok=True)
    for path in sorted(pictures.glob(pattern)) or sys.exit(f"no {pattern} in {pictures}"):
        found = client.describe_objects(path, recipe="conceptgraphs", **options)
        xyxy = np.array([(x, y, x + w, y + h) for x, y, w, h in (each.bbox for each in found)]).reshape(-1, 4)
        with Image.open(path) as picture:
            crops = [picture.crop(tuple(each)) for each in np.clip(xyxy + MARGIN, 0, 2 * picture.size)]
        detections = {
            "xyxy": xyxy,
            "confidence": np.array([each.predicted_iou for each in found]),
            "class_id": np.zeros(len(found), int),
            "mask": found.masks,
            "classes": ["item"],
            "image_crops": crops,
            "image_feats": found.descriptors[0].array,
            "text_feats": client.encode_text("item").array.repeat(len(found), axis=0),
        }
        (out / f"{path.stem}.pkl.gz").write_bytes(gzip.compress(pickle.dumps(detections)))


if __name__ == "__main__":
    with FeatsvcClient() as connected:
        write(connected, Path(sys.argv[1]), *sys.argv[2:])
