"""The numbers of an answer, in whatever form it was written, and how far two of them are apart."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.codec import rle
from featsvc.engines.answers.rle import bitmap
from featsvc.v1.schema import FeatureDType
from featsvc.work.results import (
    Bits,
    DescribedObject,
    EmbeddedImage,
    Features,
    Floats,
    ImageEmbedding,
    Mask,
    MaskList,
    ObjectList,
    ObjectsFound,
    Png,
    PromptMasks,
    PromptResults,
    Pyramid,
    Result,
    Rle,
    Similarity,
    TextEmbeddings,
)
from tests.engines import models

Array = NDArray[Any]  # any element type
Numbers = dict[str, Array]
"""By name: floats, booleans of masks, and integers."""


def numbers(result: Result) -> Numbers:
    """What the answer says."""
    match result:
        case Features() | Pyramid():
            return {"features": _floats(result)}
        case TextEmbeddings() | ImageEmbedding():
            return {"embeddings": models.vectors(result)}
        case Similarity():
            return {"map": result.similarity_map}
        case EmbeddedImage():
            return {"size": np.array([result.height, result.width])}
        case MaskList():
            every = [*_labels(result), *(part for each in enumerate(result.masks) for part in _mask(*each))]
            return {"count": np.array([len(result.masks)]), **dict(every)}
        case ObjectList():
            masks = (part for each in enumerate(result.objects) for part in _object(*each))
            vectors = ((f"vectors {index}", each.vectors) for index, each in enumerate(result.descriptors))
            return dict([*masks, *vectors])
        case ObjectsFound():
            masks = (part for each in enumerate(result.objects) for part in _object(*each))
            scores = [match.score for own in result.found for match in own.matches]
            return dict([*masks, ("scores", np.array(scores, np.float32))])
        case PromptResults():
            return dict(part for each in enumerate(result.results) for part in _prompted(*each))
    raise AssertionError(f"{type(result).__name__} has no numbers")


def difference(ours: Numbers, theirs: Numbers) -> float:
    """The largest of all: of floats in parts of their largest value, of masks the part of pixels that differ."""
    assert list(ours) == list(theirs)
    return max(_apart(ours[name], theirs[name]) for name in ours)


def _apart(one: Array, other: Array) -> float:
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    if one.dtype.kind != "f":
        return float(np.mean(one != other)) if one.size else 0.0
    assert np.isfinite(one).all()
    return float(np.abs(one - other).max(initial=0) / max(np.abs(other).max(initial=0), 1e-6))


def _floats(result: Features | Pyramid) -> Floats:
    values = result.features
    if result.dtype is FeatureDType.BFLOAT16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    if result.rounding is not None and result.rounding.scale is not None:
        return values.astype(np.float32) * result.rounding.scale
    return values.astype(np.float32)


def _prompted(index: int, masks: PromptMasks) -> Iterator[tuple[str, Array]]:
    yield f"ious {index}", masks.iou_predictions
    if masks.low_res_masks is not None:
        yield f"low_res {index}", masks.low_res_masks
    yield from _labels(masks, index)
    if masks.masks is not None:
        yield f"masks {index}", _pixels(masks.masks)


def _mask(index: int, mask: Mask) -> Iterator[tuple[str, Array]]:
    scores = [mask.predicted_iou, mask.stability_score]
    yield f"scores {index}", np.array(scores, np.float32)
    yield f"places {index}", np.array([*sum(mask.point_coords, ()), *mask.bbox, *mask.crop_box], np.float32)
    if mask.segmentation is not None:
        yield f"mask {index}", _pixels(mask.segmentation)


def _object(index: int, found: DescribedObject) -> Iterator[tuple[str, Array]]:
    yield f"place {index}", np.array([found.level, -1 if found.parent is None else found.parent])
    yield from _mask(index, found.mask)


def _labels(masks: PromptMasks | MaskList, index: int = 0) -> Iterator[tuple[str, Array]]:
    if masks.label_map is not None:
        yield f"labels {index}", masks.label_map


def _pixels(masks: Bits | Floats | Rle | Png | tuple[Rle, ...] | tuple[Png, ...]) -> Array:
    match masks:
        case tuple():
            return np.stack([_pixels(each) for each in masks])
        case Bits():
            return models.unpacked(masks)
        case Rle():
            counts = rle.from_text(masks.counts) if isinstance(masks.counts, str) else np.array(masks.counts)
            return bitmap(counts, *masks.size)
        case Png():
            return np.asarray(Image.open(io.BytesIO(masks.content)))
    values = np.unique(masks)
    # 0 and 1, where no logits were asked for.
    return masks.astype(bool) if np.isin(values, (0, 1)).all() else masks
