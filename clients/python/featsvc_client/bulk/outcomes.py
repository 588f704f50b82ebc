"""What is kept of an answer: named arrays and facts, the same for every format of file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from featsvc_client.mask_results import Masks, coco_annotation
from featsvc_client.masks import instance_map
from featsvc_client.results import Embeddings, Features, Similarity

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


def features(answer: Features) -> Outcome:
    """Dense features in the element type in which they were sent."""
    name = f"features{BFLOAT16}" if answer.raw.dtype == np.uint16 else "features"
    arrays: dict[str, NDArray[np.generic]] = {name: answer.raw}
    facts = _facts(answer) | {"is_pca": answer.is_pca, "geometry": _geometry(answer)}
    if answer.pca_basis is not None:
        facts |= {"pca_basis": answer.pca_basis}
    if answer.rounding is not None:
        facts |= {"largest_error": answer.rounding.largest_error, "mean_error": answer.rounding.mean_error}
        if answer.rounding.scale is not None:
            arrays["scale"] = answer.rounding.scale
    return Outcome(arrays, facts)


def similarity(answer: Similarity) -> Outcome:
    """A map for each text."""
    return Outcome({"similarity": answer.array}, _facts(answer) | {"geometry": _geometry(answer)})


def embedding(answer: Embeddings) -> Outcome:
    """The embedding of a whole picture, D."""
    return Outcome({"embedding": answer.array[0]}, _facts(answer))


def masks(answer: Masks) -> Outcome:
    """The numbers of masks, H x W, then each mask packed, and what is known about it."""
    summary = answer.summary
    size = (summary.height, summary.width)
    labels = instance_map(answer) if answer else np.zeros(size, np.uint16)
    pixels = [np.packbits(each.segmentation, axis=-1) for each in answer]
    arrays = {
        "labels": labels,
        "masks": np.stack(pixels) if pixels else np.zeros((0, size[0], -(-size[1] // 8)), np.uint8),
        "area": np.array([each.area for each in answer], np.int64),
        "bbox": np.array([each.bbox for each in answer], np.float64).reshape(-1, 4),
        "predicted_iou": np.array([each.predicted_iou for each in answer], np.float64),
        "stability_score": np.array([each.stability_score for each in answer], np.float64),
    }
    facts = _facts(summary) | {"height": summary.height, "width": summary.width}
    return Outcome(arrays, facts, [coco_annotation(each) for each in answer])


def coco_masks(answer: Masks) -> Outcome:
    """Masks as COCO's objects only, which need no unpacking."""
    summary = answer.summary
    facts = _facts(summary) | {"height": summary.height, "width": summary.width}
    return Outcome({}, facts, [coco_annotation(each) for each in answer])


def _facts(answer: Any) -> dict[str, Any]:  # Any: every answer about a picture has these two
    return {"model": answer.model, "image_digest": answer.image_digest}


def _geometry(answer: Features | Similarity) -> dict[str, Any]:
    return MessageToDict(answer.geometry, preserving_proto_field_name=True)
