"""The numbers of an answer, in whatever form it was written, and how far two of them are apart."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.codec import rle
from featsvc.engines.answers.rle import bitmap
from featsvc.settings.kinds import Precision
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
    ObjectVectors,
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
from tests.engines.pretended.cases import Case

Array = NDArray[Any]  # any element type
Numbers = dict[str, Array]
"""By name: floats, booleans of masks, and integers."""
BOUNDS: Mapping[Precision, float] = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 6e-2}
"""Differences that a network's precision makes, in parts of the largest value, or of a mask's pixels."""
DTYPES = ("dtype", "pyramid_dtype", "embedding_dtype", "descriptor_dtype")
"""Parameters that say what floats are rounded to."""
STEPS: Mapping[FeatureDType, float] = {
    FeatureDType.INT8: 1 / 127,
    FeatureDType.BFLOAT16: 2**-8,
    FeatureDType.FLOAT16: 2**-11,
}
"""One more or less in the last place of that, in parts of the largest value."""


def numbers(result: Result) -> Numbers:
    """What the answer says."""
    match result:
        case Features() | Pyramid():
            return {"features": _floats(result.features, result)}
        case TextEmbeddings() | ImageEmbedding():
            return {"embeddings": models.vectors(result)}
        case Similarity():
            return {"map": result.similarity_map}
        case EmbeddedImage():
            return {"size": np.array([result.height, result.width]), **dict(_embedding(result))}
        case MaskList():
            every = [*_labels(result), *(part for each in enumerate(result.masks) for part in _mask(*each))]
            return {"count": np.array([len(result.masks)]), **dict(every)}
        case ObjectList():
            masks = (part for each in enumerate(result.objects) for part in _object(*each))
            described = enumerate(result.descriptors)
            vectors = ((f"vectors {index}", _floats(each.vectors, each)) for index, each in described)
            return dict([*masks, *_labels(result), *vectors])
        case ObjectsFound():
            masks = (part for each in enumerate(result.objects) for part in _object(*each))
            return dict([*masks, *_labels(result), *_matches(result)])
        case PromptResults():
            return dict(part for each in enumerate(result.results) for part in _prompted(*each))
    raise AssertionError(f"{type(result).__name__} has no numbers")


def difference(ours: Numbers, theirs: Numbers) -> float:
    """The largest of all: of floats in parts of their largest value, of masks the part of pixels that differ."""
    assert list(ours) == list(theirs)
    return max(_apart(ours[name], theirs[name]) for name in ours)


def bound(case: Case, by_precision: float) -> float:
    """How far answers of two devices may be apart: by what they compute in, and what floats are rounded to."""
    dtypes = (getattr(case.params, name, FeatureDType.FLOAT32) for name in DTYPES)
    return by_precision + sum(STEPS.get(each, 0) for each in dtypes)


def _apart(one: Array, other: Array) -> float:
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    if one.dtype.kind != "f":
        return float(np.mean(one != other)) if one.size else 0.0
    if not np.isfinite(one).all():
        return float("inf")
    return float(np.abs(one - other).max(initial=0) / max(np.abs(other).max(initial=0), 1e-6))


def _floats(values: Array, typed: Features | Pyramid | ObjectVectors | EmbeddedImage) -> Floats:
    """Values of the element type that is told beside them."""
    if typed.dtype is FeatureDType.BFLOAT16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    rounding = None if isinstance(typed, EmbeddedImage) else typed.rounding
    if rounding is not None and rounding.scale is not None:
        return values.astype(np.float32) * rounding.scale
    return values.astype(np.float32)


def _embedding(image: EmbeddedImage) -> Iterator[tuple[str, Array]]:
    for name in ("image_embed", "high_res_feats_0", "high_res_feats_1"):
        values = getattr(image, name)
        if values is not None:
            yield name, _floats(values, image)


def _matches(result: ObjectsFound) -> Iterator[tuple[str, Array]]:
    for index, own in enumerate(result.found):
        yield f"found {index}", np.array([match.object for match in own.matches], np.int64)
        yield f"found scores {index}", np.array([match.score for match in own.matches], np.float32)
    if result.text_map is not None:
        yield "text map", result.text_map


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


def _labels(
    masks: PromptMasks | MaskList | ObjectList | ObjectsFound, index: int = 0
) -> Iterator[tuple[str, Array]]:
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
