"""What a result holds, to compare it with another."""

from __future__ import annotations

import numpy as np

from featsvc.work.results import (
    EmbeddedImage,
    Features,
    Mask,
    MaskList,
    PromptMasks,
    PromptResults,
    Pyramid,
    Result,
    Rle,
    Similarity,
    TextEmbeddings,
)
from tests.engines import models


def content(result: Result) -> list[np.ndarray]:
    """The arrays and numbers of a result, without what only describes them."""
    match result:
        case Features():
            return [result.features, np.array([len(result.pca_basis or "")])]
        case EmbeddedImage():
            parts = (result.image_embed, result.high_res_feats_0, result.high_res_feats_1)
            return [np.array([result.size_bytes]), *(each for each in parts if each is not None)]
        case Pyramid():
            return [result.features]
        case Similarity():
            return [result.similarity_map]
        case TextEmbeddings():
            return [result.text_embedding]
        case MaskList():
            return [each for mask in result.masks for each in (*drawn(mask.segmentation), numbers(mask))]
    assert isinstance(result, PromptResults)
    return [
        each for one in result.results for each in (*drawn(one.masks), one.iou_predictions, *low_res(one))
    ]


def drawn(pixels: object) -> list[np.ndarray]:
    """The pixels of one or several masks, in whatever form."""
    if isinstance(pixels, tuple):
        return [each for one in pixels for each in drawn(one)]
    if isinstance(pixels, Rle):
        return [np.array(list(pixels.counts))]
    return [pixels if isinstance(pixels, np.ndarray) else models.unpacked(pixels)]


def low_res(masks: PromptMasks) -> list[np.ndarray]:
    return [] if masks.low_res_masks is None else [masks.low_res_masks]


def numbers(mask: Mask) -> np.ndarray:
    return np.array([mask.stability_score, mask.predicted_iou, *mask.point_coords[0], *mask.crop_box])


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    assert one, "an empty answer proves nothing"
    return len(one) == len(other) and all(
        mine.dtype == theirs.dtype and mine.shape == theirs.shape and np.allclose(mine, theirs, atol=1e-6)
        for mine, theirs in zip(one, other, strict=True)
    )
