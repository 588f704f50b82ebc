"""What the Python side computes, for the unit tests of the page: `python -m tests.web.answers` writes them."""

from __future__ import annotations

import base64
import io
import json
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy.ndimage import gaussian_filter

FILE = Path(__file__).parents[2] / "clients" / "web" / "test" / "answers.json"
FACTOR = 5.0


def answers() -> dict[str, object]:
    """Masks by pycocotools, arrays and similarities by numpy."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(4, 5, 6)).astype(np.float16)
    text, *negatives = _lengths_one(rng.normal(size=(3, 6)))
    maps = _lengths_one(features.astype(np.float64)) @ np.stack([text, *negatives]).T
    m, n = maps[..., 0], maps[..., 1:]
    soft = np.exp(FACTOR * (m - m.max()))
    file = io.BytesIO()
    np.save(file, features)
    return {
        "masks": [_mask(rng, height, width, level) for height, width, level in SHAPES],
        "features": base64.b64encode(features.tobytes()).decode(),
        "values": features.astype(np.float64).ravel().tolist(),
        "text": text.tolist(),
        "negatives": [each.tolist() for each in negatives],
        "factor": FACTOR,
        "cosines": m.ravel().tolist(),
        "softmax": (soft / soft.sum()).ravel().tolist(),
        "against": (np.exp(FACTOR * m) / (np.exp(FACTOR * m) + np.exp(FACTOR * n).sum(axis=-1)))
        .ravel()
        .tolist(),
        "labels": maps.argmax(axis=-1).ravel().tolist(),
        "components": _components(_lengths_one(features.astype(np.float64)).reshape(-1, 6)).tolist(),
        "npy": base64.b64encode(file.getvalue()).decode(),
    }


SHAPES = ((23, 37, 0.0), (40, 11, 0.04), (9, 9, -1.0), (6, 7, 1.0), (31, 31, -0.02))


def _mask(rng: np.random.Generator, height: int, width: int, level: float) -> dict[str, object]:
    """A mask of blobs with holes, all of the picture, or nothing of it."""
    mask = gaussian_filter(rng.normal(size=(height, width)), 1.5) > level
    with warnings.catch_warnings():
        # pycocotools has not caught up with numpy 2's __array__.
        warnings.simplefilter("ignore", DeprecationWarning)
        rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {
            "size": [height, width],
            "pixels": "".join("01"[pixel] for pixel in mask.ravel().astype(int)),
            "counts": rle["counts"].decode(),
            "area": int(coco.area(rle)),
            "box": coco.toBbox(rle).tolist(),
        }


def _lengths_one(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _components(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.svd(places - places.mean(axis=0), full_matrices=False)[2][:3]


if __name__ == "__main__":
    FILE.write_text(json.dumps(answers()) + "\n")
