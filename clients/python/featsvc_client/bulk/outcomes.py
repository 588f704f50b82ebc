"""What is kept of an answer: named arrays and facts, the same for every format of file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from featsvc_client.mask_results import Mask, Masks
from featsvc_client.masks import instance_map
from featsvc_client.results import Embeddings, Features, Similarity
from featsvc_client.rle import Rle

# numpy has no bfloat16: arrays of this ending hold its bits as uint16.
BFLOAT16 = ".bfloat16"


@dataclass(frozen=True)
class Outcome:
    """The arrays of an answer, the most important one first, and what else is known."""

    arrays: Mapping[str, NDArray[np.generic]]
    # Any: JSON.
    facts: Mapping[str, Any]
    annotations: Sequence[Mapping[str, Any]] = field(default=())
    """For masks: COCO's objects, without the numbers that they get among others."""

    @property
    def model(self) -> str:
        """Key of the model that answered."""
        return str(self.facts["model"])


def features(found: Features) -> Outcome:
    """Dense features in the element type in which they were sent."""
    name = f"features{BFLOAT16}" if found.raw.dtype == np.uint16 else "features"
    arrays: dict[str, NDArray[np.generic]] = {name: found.raw}
    facts = _facts(found) | {"is_pca": found.is_pca, "geometry": _geometry(found)}
    if found.rounding is not None:
        facts |= {"largest_error": found.rounding.largest_error, "mean_error": found.rounding.mean_error}
        if found.rounding.scale is not None:
            arrays["scale"] = found.rounding.scale
    return Outcome(arrays, facts)


def similarity(found: Similarity) -> Outcome:
    """A map for each text."""
    return Outcome({"similarity": found.array}, _facts(found) | {"geometry": _geometry(found)})


def embedding(found: Embeddings) -> Outcome:
    """The embedding of a whole picture, D."""
    return Outcome({"embedding": found.array[0]}, _facts(found))


def masks(found: Masks) -> Outcome:
    """The numbers of masks, H x W, then each mask packed, and what is known about it."""
    summary = found.summary
    size = (summary.height, summary.width)
    labels = instance_map(found) if found else np.zeros(size, np.uint16)
    pixels = [np.packbits(each.segmentation, axis=-1) for each in found]
    arrays = {
        "labels": labels,
        "masks": np.stack(pixels) if pixels else np.zeros((0, size[0], -(-size[1] // 8)), np.uint8),
        "area": np.array([each.area for each in found], np.int64),
        "bbox": np.array([each.bbox for each in found], np.float64).reshape(-1, 4),
        "predicted_iou": np.array([each.predicted_iou for each in found], np.float64),
        "stability_score": np.array([each.stability_score for each in found], np.float64),
    }
    facts = _facts(summary) | {"height": summary.height, "width": summary.width}
    return Outcome(arrays, facts, [_annotation(each) for each in found])


def coco_masks(found: Masks) -> Outcome:
    """Masks as COCO's objects only, which need no unpacking."""
    summary = found.summary
    facts = _facts(summary) | {"height": summary.height, "width": summary.width}
    return Outcome({}, facts, [_annotation(each) for each in found])


def _facts(found: Any) -> dict[str, Any]:  # Any: every answer about a picture has these two
    return {"model": found.model, "image_digest": found.image_digest}


def _geometry(found: Features | Similarity) -> dict[str, Any]:
    return MessageToDict(found.geometry, preserving_proto_field_name=True)


def _annotation(mask: Mask) -> dict[str, Any]:
    """The object as COCO's format calls its parts; scores are additions that its tools ignore."""
    pixels = mask.pixels
    return {
        "segmentation": pixels.coco() if isinstance(pixels, Rle) else _runs(mask.segmentation).coco(),
        "area": mask.area,
        "bbox": list(mask.bbox),
        "iscrowd": 0,
        "category_id": 1,
        "predicted_iou": mask.predicted_iou,
        "stability_score": mask.stability_score,
    }


def _runs(mask: NDArray[np.bool_]) -> Rle:
    """The mask as lengths of runs down its columns, beginning with background."""
    flat = mask.ravel(order="F")
    ends = np.concatenate([np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    lengths = np.diff(ends, prepend=0).tolist()
    return Rle(tuple([0, *lengths] if flat[0] else lengths), (mask.shape[0], mask.shape[1]))
