"""What is kept of an answer: named arrays and facts, the same for every format of file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from featsvc_client.mask_results import Mask, Masks, MasksSummary, coco_annotation
from featsvc_client.masks import instance_map
from featsvc_client.object_results import FoundObjects, Objects, ObjectVectors
from featsvc_client.pyramid_results import Pyramid
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

    @property
    def models(self) -> tuple[str, ...]:
        """The same, and after it the keys of those that described, as far as the answer names them."""
        return (self.model, *(str(each["model"]) for each in self.facts.get("descriptors", ())))


def features(answer: Features) -> Outcome:
    """Dense features in the element type in which they were sent."""
    arrays = _numbers("features", answer, "scale")
    facts = _facts(answer) | {"is_pca": answer.is_pca, "geometry": _geometry(answer)}
    if answer.pca_basis is not None:
        facts |= {"pca_basis": answer.pca_basis}
    return Outcome(arrays, facts | _errors(answer))


def similarity(answer: Similarity) -> Outcome:
    """A map for each text."""
    return Outcome({"similarity": answer.array}, _facts(answer) | {"geometry": _geometry(answer)})


def pyramid(answer: Pyramid) -> Outcome:
    """Vectors of all tiles, level by level, or at points or places, and how the tiles lie."""
    levels = [asdict(each) for each in answer.levels]
    facts = _facts(answer) | _size(answer) | {"levels": levels} | _errors(answer)
    return Outcome(_numbers("features", answer, "scale"), facts)


def embedding(answer: Embeddings) -> Outcome:
    """The embedding of a whole picture, D."""
    return Outcome({"embedding": answer.array[0]}, _facts(answer))


def masks(answer: Masks) -> Outcome:
    """The numbers of masks, H x W, then each mask packed, and what is known about it."""
    size = (answer.summary.height, answer.summary.width)
    return Outcome(_masks(answer, size), _facts(answer.summary) | _size(answer.summary))


def coco_masks(answer: Masks) -> Outcome:
    """Masks as COCO's objects, which need no unpacking."""
    facts = _facts(answer.summary) | _size(answer.summary)
    return Outcome({}, facts, [coco_annotation(each) for each in answer])


def objects(answer: Objects) -> Outcome:
    """The vectors of each way, N x D, then masks as `masks` has them, and how they nest; parent is -1 of a whole."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, each in enumerate(answer.descriptors):
        arrays |= _numbers(f"vectors_{number}", each, f"scale_{number}")
    arrays |= _masks(answer, (answer.height, answer.width)) | {
        "level": np.array([each.level for each in answer], np.int64),
        "parent": np.array([-1 if each.parent is None else each.parent for each in answer], np.int64),
    }
    ways = [{"model": each.model, **_errors(each)} for each in answer.descriptors]
    facts = _facts(answer) | _size(answer) | {"descriptors": ways}
    lists = [each.granularity for each in answer]
    return Outcome(arrays, facts | {"granularity": lists} if any(lists) else facts)


def found_objects(answer: FoundObjects) -> Outcome:
    """Masks as `masks` has them, then what fits: of each match its text or vector, its object and its score."""
    matches = [(query, each) for query, own in enumerate(answer.found) for each in own]
    arrays = _masks(answer, (answer.height, answer.width)) | {
        "match_query": np.array([query for query, _ in matches], np.int64),
        "match_object": np.array([each.object for _, each in matches], np.int64),
        "match_score": np.array([each.score for _, each in matches], np.float64),
    }
    if answer.text_map is not None:
        arrays["text_map"] = answer.text_map
    return Outcome(arrays, _facts(answer) | _size(answer) | _describing(answer))


def coco_found_objects(answer: FoundObjects) -> Outcome:
    """An object of COCO's for each match, its category the text or vector that it fits."""
    once = [coco_annotation(each) for each in answer]
    annotations = [
        once[each.object] | {"category_id": query, "score": each.score}
        for query, own in enumerate(answer.found, 1)
        for each in own
    ]
    return Outcome({}, _facts(answer) | _size(answer) | _describing(answer), annotations)


def _describing(answer: FoundObjects) -> dict[str, Any]:
    """The models that describe, as `objects` has them."""
    return {"descriptors": [{"model": each} for each in answer.descriptor_models]}


def _masks(answer: Sequence[Mask], size: tuple[int, int]) -> dict[str, NDArray[np.generic]]:
    """The numbers of masks, H x W, then each mask packed, and what is known about it."""
    labels = instance_map(answer) if answer else np.zeros(size, np.uint16)
    pixels = [np.packbits(each.segmentation, axis=-1) for each in answer]
    return {
        "labels": labels,
        "masks": np.stack(pixels) if pixels else np.zeros((0, size[0], -(-size[1] // 8)), np.uint8),
        "area": np.array([each.area for each in answer], np.int64),
        "bbox": np.array([each.bbox for each in answer], np.float64).reshape(-1, 4),
        "predicted_iou": np.array([each.predicted_iou for each in answer], np.float64),
        "stability_score": np.array([each.stability_score for each in answer], np.float64),
    }


def _numbers(
    name: str, answer: Features | ObjectVectors | Pyramid, scale: str
) -> dict[str, NDArray[np.generic]]:
    """Features as they were sent, and by what integers are to be multiplied."""
    arrays = {f"{name}{BFLOAT16}" if answer.raw.dtype == np.uint16 else name: answer.raw}
    if answer.rounding is not None and answer.rounding.scale is not None:
        arrays[scale] = answer.rounding.scale
    return arrays


def _errors(answer: Features | ObjectVectors | Pyramid) -> dict[str, float]:
    """What rounding has changed."""
    if answer.rounding is None:
        return {}
    return {"largest_error": answer.rounding.largest_error, "mean_error": answer.rounding.mean_error}


def _size(answer: MasksSummary | Objects | Pyramid) -> dict[str, int]:
    return {"height": answer.height, "width": answer.width}


def _facts(answer: Any) -> dict[str, Any]:  # Any: every answer about a picture has these two
    return {"model": answer.model, "image_digest": answer.image_digest}


def _geometry(answer: Features | Similarity) -> dict[str, Any]:
    return MessageToDict(answer.geometry, preserving_proto_field_name=True)
