"""Which objects fit texts, or vectors of objects elsewhere: docs/formulas.md, "Objects"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
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
from featsvc.work.objects import of_texts
from featsvc.work.options import EngineOptions
from featsvc.work.results import Floats, LabelMap, ObjectMatch, ObjectMatches

VECTORS = "query.vectors"
MOST_VECTORS = 256
"""So many as texts."""
MATRIX = 2
"""Axes of vectors beside each other."""


@dataclass(frozen=True)
class Sought:
    """Vectors that objects are compared with, each of length 1: of each way to describe its own."""

    positive: tuple[Tensor, ...]
    """Q x D."""
    negative: tuple[Tensor, ...]
    """K x D."""

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.positive[0].device

    def scores(self, vectors: Sequence[Tensor], scale: float) -> Tensor:
        """How well each of N objects fits, N x Q, of their vectors of length 1 by each way: the mean of their cosines.

        With negatives the relevancy of that, which is LERF's (Kerr et al. 2023): the least, over all negatives, of the
        softmax of `scale` times the cosines with the text and with that negative. What no way sees, vectors of 0, fits
        nothing: -inf.
        """
        own = _cosines(vectors, self.positive)
        if len(self.negative[0]):
            against = _cosines(vectors, self.negative).amax(dim=1, keepdim=True)
            own = torch.sigmoid(scale * (own - against))
        is_seen = torch.stack([each.any(dim=1) for each in vectors]).any(dim=0)
        return own.where(is_seen[:, None], -torch.inf)

    def by_first(self) -> Sought:
        """The same by the first way alone."""
        return Sought(self.positive[:1], self.negative[:1])


def _cosines(vectors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Of N with M, both by several ways, the mean over these, N x M."""
    return torch.stack([own @ other.T for own, other in zip(vectors, others, strict=True)]).mean(dim=0)


@dataclass(frozen=True)
class Query:
    """What a request looks for, before its texts are embedded."""

    count: int
    words: Words | None
    """Texts, the positive ones first."""
    loaded: ClipModel | None
    """Whose texts they are."""
    vectors: Floats | None
    """Q x the channels of all ways, where vectors were given; the part of each way has length 1."""
    channels: tuple[int, ...]
    """Of each way."""

    @property
    def flop(self) -> float:
        """What embedding the texts costs."""
        return 0.0 if self.words is None or self.loaded is None else self.words.flop(self.loaded)

    def sought(self, cache: TextCache, device: torch.device) -> Sought:
        """The vectors on a device."""
        if self.words is None or self.loaded is None:
            values = np.zeros((0, 0), np.float32) if self.vectors is None else self.vectors
            parts = np.split(values, np.cumsum(self.channels)[:-1], axis=1)
            own = tuple(on_device(torch.from_numpy(np.ascontiguousarray(each)), device) for each in parts)
            return Sought(own, tuple(each[:0] for each in own))
        (rows,) = embedded([self.words], self.loaded, cache)
        texts = on_device(torch.from_numpy(rows), device)
        ways = len(self.channels)
        return Sought((texts[: self.count],) * ways, (texts[self.count :],) * ways)


def query_of(
    query: ObjectQuery,
    params: FindObjectsParams,
    ways: Sequence[Describing],
    options: EngineOptions,
    cache: TextCache,
) -> Query:
    """What is looked for, to be compared with vectors of these ways; raises InvalidFields where it cannot be."""
    channels = tuple(way.channels for way in ways)
    if query.vectors is not None:
        if idle := of_texts(params):
            message = "is about texts, and nothing is compared with any: leave it out, or give text"
            raise invalid_field(f"params.{idle[0]}", message)
        vectors = _given(query.vectors, channels)
        return Query(len(vectors), None, None, vectors, channels)
    loaded = _model_of_texts(ways)
    texts = {"query.text": query.text, "query.negative_text": query.negative_text}
    words = checked_words(texts, params, loaded, options, cache)
    return Query(len(query.text), words, loaded, None, channels)


def _model_of_texts(ways: Sequence[Describing]) -> ClipModel:
    """The one model of CLIP that describes."""
    models = [way.network.loaded for way in ways if isinstance(way.network, ClipNetwork)]
    if len(models) < len(ways) or len({each.entry.key for each in models}) > 1:
        raise invalid_field(
            "params.describe",
            "texts are compared with vectors of CLIP: let every way be clip, of the same model",
        )
    return models[0]


def _given(tensor: WireTensor, channels: Sequence[int]) -> Floats:
    """Vectors as they were sent, the part of each way over its length."""
    if tensor.dtype is not DType.FLOAT32 or len(tensor.shape) != MATRIX:
        raise invalid_field(VECTORS, "give float32, queries x channels")
    count, width = tensor.shape
    if not count:
        raise invalid_field(VECTORS, "has no rows: give a vector for each object that is looked for")
    if width != sum(channels):
        together = f"all ways to describe have {sum(channels)} channels together"
        raise invalid_field(VECTORS, f"its shape is {count} x {width}; {together}")
    if count > MOST_VECTORS:
        raise invalid_field(VECTORS, f"{count} vectors, at most {MOST_VECTORS}: send fewer at once")
    if len(tensor.data) != 4 * count * width:  # float32
        raise invalid_field(VECTORS, f"holds {len(tensor.data)} bytes, which is not what its shape needs")
    vectors = np.frombuffer(tensor.data, "<f4").astype(np.float32).reshape(tensor.shape)
    if not np.isfinite(vectors).all():
        raise invalid_field(VECTORS, "holds values that are not finite")
    for way, part in enumerate(np.split(vectors, np.cumsum(channels)[:-1], axis=1)):
        # float64: the squares of what float32 holds may be too large for it, or 0.
        lengths = np.sqrt(np.einsum("qd,qd->q", part, part, dtype=np.float64))
        if not lengths.all():
            row = int(np.argmin(lengths))
            message = (
                f"row {row} is 0 for way {way} to describe, which did not see that object: leave the row out"
            )
            raise invalid_field(VECTORS, message)
        np.divide(part, lengths[:, None], out=part, casting="same_kind")
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
