"""Which objects fit texts, or vectors of objects elsewhere: docs/formulas.md, "Objects"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from featsvc.engines.answers.mask_encoding import Bitmaps
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.text import TextCache, Words, checked_words, embedded
from featsvc.engines.objects.describing import Describing
from featsvc.engines.objects.networks import ClipNetwork
from featsvc.engines.objects.overlaps import Matrix, ious, unlike
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device
from featsvc.errors import invalid_field
from featsvc.v1.schema import DType, FindObjectsParams, ObjectQuery
from featsvc.v1.schema import Tensor as WireTensor
from featsvc.work.options import EngineOptions
from featsvc.work.results import Floats, LabelMap, ObjectMatch, ObjectMatches

VECTORS = "query.vectors"
MOST_VECTORS = 256
"""So many as texts."""
MATRIX = 2
"""Axes of vectors beside each other."""


@dataclass(frozen=True)
class Sought:
    """Vectors that objects are compared with, each of length 1."""

    positive: Tensor
    """Q x D."""
    negative: Tensor
    """K x D."""

    def scores(self, vectors: Tensor, scale: float) -> Tensor:
        """How well each of N vectors of length 1 fits, N x Q: its cosine, or with negatives its relevancy.

        That is LERF's (Kerr et al. 2023): the least, over all negatives, of the softmax of `scale` times the cosines
        with the text and with that negative.
        """
        own = vectors @ self.positive.T
        if not len(self.negative):
            return own
        against = (vectors @ self.negative.T).amax(dim=1, keepdim=True)
        return torch.sigmoid(scale * (own - against))


@dataclass(frozen=True)
class Query:
    """What a request looks for, before its texts are embedded."""

    count: int
    words: Words | None
    """Texts, the positive ones first."""
    loaded: ClipModel | None
    """Whose texts they are."""
    vectors: Floats | None
    """Q x D, where vectors were given."""

    @property
    def flop(self) -> float:
        """What embedding the texts costs."""
        return 0.0 if self.words is None or self.loaded is None else self.words.flop(self.loaded)

    def sought(self, cache: TextCache, device: torch.device) -> Sought:
        """The vectors on a device."""
        if self.words is None or self.loaded is None:
            values = np.zeros((0, 0), np.float32) if self.vectors is None else self.vectors
            given = F.normalize(on_device(torch.from_numpy(values), device), dim=-1)
            return Sought(given, given[:0])
        (rows,) = embedded([self.words], self.loaded, cache)
        texts = on_device(torch.from_numpy(rows), device)
        return Sought(texts[: self.count], texts[self.count :])


def query_of(
    query: ObjectQuery, params: FindObjectsParams, way: Describing, options: EngineOptions, cache: TextCache
) -> Query:
    """What is looked for, to be compared with vectors of this way; raises InvalidFields where it cannot be."""
    if query.vectors is not None:
        vectors = _given(query.vectors, way.channels)
        return Query(len(vectors), None, None, vectors)
    if not isinstance(way.network, ClipNetwork):
        raise invalid_field(
            "params.describe", "texts are compared with the vectors of the first way: let that be one of clip"
        )
    texts = {"query.text": query.text, "query.negative_text": query.negative_text}
    loaded = way.network.loaded
    words = checked_words(texts, params, loaded, options, cache)
    return Query(len(query.text), words, loaded, None)


def _given(tensor: WireTensor, channels: int) -> Floats:
    if tensor.dtype is not DType.FLOAT32 or len(tensor.shape) != MATRIX:
        raise invalid_field(VECTORS, "give float32, queries x channels")
    if tensor.shape[1] != channels or not tensor.shape[0]:
        shape = " x ".join(map(str, tensor.shape))
        raise invalid_field(
            VECTORS, f"its shape is {shape}; the first way to describe has {channels} channels"
        )
    if tensor.shape[0] > MOST_VECTORS:
        raise invalid_field(VECTORS, f"{tensor.shape[0]} vectors, at most {MOST_VECTORS}: send fewer at once")
    if len(tensor.data) != 4 * tensor.shape[0] * channels:  # float32
        raise invalid_field(VECTORS, f"holds {len(tensor.data)} bytes, which is not what its shape needs")
    vectors = np.frombuffer(tensor.data, "<f4").astype(np.float32).reshape(tensor.shape)
    if not np.isfinite(vectors).all():
        raise invalid_field(VECTORS, "holds values that are not finite")
    return vectors


@dataclass(frozen=True)
class Fitting:
    """Objects that fit, of N that were looked at."""

    chosen: NDArray[np.intp]
    """Those that fit anything, in their order."""
    found: tuple[ObjectMatches, ...]
    """For each query its own, by their places in `chosen`."""


def fitting(scores: Tensor, shared: Matrix, params: FindObjectsParams) -> Fitting:
    """Of scores N x Q the best for each query, of which none overlaps a better one; N x N pixels are shared."""
    values = scores.cpu().double().numpy()
    overlaps = ious(shared)
    per_query = [_best(values[:, query], overlaps, params) for query in range(values.shape[1])]
    chosen = np.unique(
        np.concatenate([np.array(each, np.intp) for each in per_query] or [np.zeros(0, np.intp)])
    )
    found = (
        ObjectMatches(
            tuple(
                ObjectMatch(int(np.searchsorted(chosen, index)), float(values[index, query]))
                for index in best
            )
        )
        for query, best in enumerate(per_query)
    )
    return Fitting(chosen, tuple(found))


def _best(scores: NDArray[np.float64], overlaps: Matrix, params: FindObjectsParams) -> list[int]:
    """Indices of the objects for one query, best first."""
    order = [each for each in np.argsort(-scores, kind="stable").tolist() if scores[each] >= params.min_score]
    return list(islice(unlike(order, overlaps, params.max_overlap), params.max_matches))


def text_map(found: Sequence[ObjectMatches], masks: Bitmaps) -> LabelMap:
    """H x W: 0 where nothing fits, else 1 + the index of the query whose object there has the best score."""
    labels = np.zeros(masks.shape[1:], np.uint16)
    every = [(each.score, -query, each.object) for query, own in enumerate(found) for each in own.matches]
    for _, query, index in sorted(every):
        step()
        labels[masks[index]] = 1 - query
    return labels
