"""Objects that texts or vectors look for: scores, suppression, peaks, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from featsvc.engines.answers import rle
from featsvc.engines.objects.finding import Sought, fitting, text_map
from featsvc.engines.objects.overlaps import intersections
from featsvc.engines.objects.peaks import peaks, position
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.v1 import schema as S
from featsvc.work.item import IN_ONE_PIECE, FindItem, Json, TextItem, Way
from featsvc.work.operations import ENCODE_TEXT, FIND_OBJECTS
from featsvc.work.results import Bits, ObjectMatch, ObjectsFound
from tests.engines import models
from tests.engines.objects.test_describe import BOXES, CLIP_CROP, CONTENT, FEW, described, together
from tests.engines.objects.test_pooling import geometry

TEXTS = ("a red circle", "a blue star", "a tree")


def found(
    engines: Engines,
    query: dict[str, Any],
    source: Any = None,
    way: Way = IN_ONE_PIECE,
    digest: str = "",
    **params: Any,
) -> ObjectsFound:
    """The answer with the demo models."""
    settle = FIND_OBJECTS.settled
    assert settle is not None
    settled = settle(S.FindObjectsParams.model_validate(params))
    asked: Any = S.FindObjectsRequest.model_construct(
        source=None if source is None else S.ObjectSource.model_validate(source), params=settled
    )
    assert FIND_OBJECTS.models is not None
    families = [use.operation.family for use in FIND_OBJECTS.models(asked)]
    loaded = together(engines, families)
    item = FindItem(CONTENT, digest, way=way, source=asked.source, query=S.ObjectQuery.model_validate(query))
    result = models.answer(engines, FIND_OBJECTS.rpc, item, settled, loaded)
    assert isinstance(result, ObjectsFound)
    return result


def test_a_relevancy_is_the_least_of_the_pairwise_softmaxes() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, positive, negative = (
        F.normalize(torch.randn(count, 6, generator=generator), dim=-1) for count in (5, 2, 3)
    )
    plain = torch.empty(5, 2)
    for n in range(5):
        for q in range(2):
            pairs = [
                torch.softmax(10 * torch.stack([vectors[n] @ positive[q], vectors[n] @ other]), dim=0)[0]
                for other in negative
            ]
            plain[n, q] = min(pairs)
    torch.testing.assert_close(Sought((positive,), (negative,)).scores([vectors], 10), plain)
    cosines = Sought((positive,), (negative[:0],)).scores([vectors], 10)
    torch.testing.assert_close(cosines, vectors @ positive.T)


def test_the_best_are_answered_once_and_none_below_the_least_score() -> None:
    masks = np.zeros((5, 10, 10), bool)
    masks[0, :5], masks[1, :6], masks[2, 6:], masks[3, 9:], masks[4, :, :2] = (True,) * 5
    shared = intersections([rle.run_lengths(mask) for mask in masks])
    scores = torch.tensor([[0.8, 0.1], [0.9, 0.1], [0.7, 0.6], [0.2, 0.9], [0.5, 0.0]])
    params = S.FindObjectsParams(min_score=0.3, max_matches=2)
    fits = fitting(scores, shared, params)
    # 0 overlaps 1, which is better, by 5/6; and only two are wanted of 1, 2 and 4.
    assert fits.chosen.tolist() == [1, 2, 3]
    assert [[each.object for each in own.matches] for own in fits.found] == [[0, 1], [2, 1]]
    assert fits.found[0].matches[0].score == pytest.approx(0.9)
    labels = text_map(fits.found, masks[fits.chosen])
    assert labels[0, 5] == 1
    assert labels[9, 5] == 2  # 0.9 there, against the first text's 0.7
    assert labels[7, 5] == 1  # 0.7 there, against 0.6
    assert fitting(scores[:0], np.zeros((0, 0)), params).found[1].matches == ()


def test_peaks_are_the_highest_cells_among_their_neighbours() -> None:
    heat = torch.zeros(2, 4, 6)
    heat[0, 1, 1], heat[0, 1, 2], heat[0, 3, 5] = 0.9, 0.8, 0.5
    heat[1] = torch.arange(24.0).view(4, 6)
    assert peaks(heat, 2).tolist() == [[1, 1], [3, 5], [3, 5]]
    assert position((1, 2), geometry()) == (10, 6)
    assert position((0, 0), geometry(load_size=24)) == (1, 1)


def test_objects_are_scored_by_their_vectors(engines: Engines) -> None:
    vectors = described(engines, {"boxes": BOXES}, describe=[CLIP_CROP]).descriptors[0].vectors
    own = found(engines, {"text": TEXTS}, {"boxes": BOXES}, describe=[CLIP_CROP], min_score=-1, max_overlap=1)
    assert len(own.objects) == len(BOXES)
    params, texts = S.EncodeTextParams(), S.Texts(text=TEXTS)
    rows: Any = models.answer(engines, ENCODE_TEXT.rpc, TextItem(texts), params, engines.load("demo-clip"))
    expected = vectors @ rows.text_embedding.T
    for query, one in enumerate(own.found):
        assert [each.object for each in one.matches] == np.argsort(-expected[:, query]).tolist()
        for each in one.matches:
            assert each.score == pytest.approx(expected[each.object, query], abs=1e-6)


@pytest.mark.parametrize(
    "way", [CLIP_CROP, {"dino": {}, "pooled": {}}, {"dino": {"params": {"bin": True}}, "pooled": {}}]
)
def test_an_object_is_found_again_by_its_vector(engines: Engines, way: Any) -> None:
    vectors = described(engines, {"boxes": BOXES}, describe=[way]).descriptors[0].vectors
    wire = {"dtype": "float32", "shape": (1, vectors.shape[1]), "data": vectors[2:3].tobytes()}
    own = found(engines, {"vectors": wire}, {"boxes": BOXES}, describe=[way], max_matches=1)
    assert len(own.objects) == 1
    assert own.objects[0].mask.bbox[:2] == (100, 3)
    assert own.found[0].matches[0].score == pytest.approx(1, abs=1e-5)


WAYS: list[Any] = [CLIP_CROP, {"clip": {"params": {"load_size": 96}}, "pooled": {}}, {"dino": {}, "crop": {}}]


def test_by_several_ways_the_mean_of_their_cosines_counts(engines: Engines) -> None:
    boxes = {"boxes": BOXES}
    ways = [each.vectors for each in described(engines, boxes, describe=WAYS).descriptors]
    rows = np.concatenate(ways, axis=1)[1:3]
    wire = {"dtype": "float32", "shape": rows.shape, "data": rows.tobytes()}
    every: Any = {"min_score": -1, "max_overlap": 1}
    own = found(engines, {"vectors": wire}, boxes, describe=WAYS, **every)
    expected = np.mean([each @ each[1:3].T for each in ways], axis=0)
    for query, one in enumerate(own.found):
        assert [each.score for each in one.matches] == pytest.approx(
            np.sort(expected[:, query])[::-1], abs=1e-5
        )
    assert own.descriptor_models == ("demo-clip", "demo-clip", "demo-dino")
    texts = {"text": TEXTS, "negative_text": ["things"]}
    alone = [found(engines, texts, boxes, describe=[way], **every).found[0].matches for way in WAYS[:2]]
    both = found(engines, texts, boxes, describe=WAYS[:2], **every).found[0].matches
    logits = [np.mean([np.log(s / (1 - s)) for s in _of(each, alone)]) for each in both]
    scores = [each.score for each in both]
    assert scores == pytest.approx(1 / (1 + np.exp(-np.array(logits))), abs=1e-5)


def _of(match: ObjectMatch, answers: list[tuple[ObjectMatch, ...]]) -> list[float]:
    """The scores of the same object elsewhere."""
    return [next(each.score for each in answer if each.object == match.object) for answer in answers]


def test_texts_are_compared_with_one_model_of_clip(engines: Engines) -> None:
    with pytest.raises(InvalidFields, match="let every way be clip, of the same model"):
        found(engines, {"text": TEXTS}, {"boxes": BOXES}, describe=WAYS)


def test_peaks_are_those_of_the_first_way(engines: Engines) -> None:
    common: Any = {"search": "peaks", "min_score": -1, "max_peaks": 2, "max_overlap": 1}
    alone = found(engines, {"text": TEXTS}, describe=WAYS[1:2], **common)
    both = found(engines, {"text": TEXTS}, describe=[WAYS[1], WAYS[0]], **common)
    assert [each.mask.bbox for each in both.objects] == [each.mask.bbox for each in alone.objects]
    assert both.found != alone.found
    with pytest.raises(InvalidFields, match="let the first way be pooled"):
        found(engines, {"text": TEXTS}, describe=WAYS[:2], **common)


def test_peaks_of_a_text_become_masks(engines: Engines) -> None:
    way = {"clip": {"params": {"load_size": 96}}, "pooled": {}}
    own = found(
        engines,
        {"text": TEXTS[:1]},
        search="peaks",
        describe=[way],
        min_score=-1,
        max_peaks=3,
        ret_text_map=True,
    )
    assert 1 <= len(own.objects) <= 3
    assert own.text_map is not None
    assert set(np.unique(own.text_map)) <= {0, 1}
    assert all(not each.mask.point_coords for each in own.objects)


def test_peaks_are_no_more_objects_than_a_request_may_have(engines: Engines) -> None:
    way = {"clip": {"params": {"load_size": 96}}, "pooled": {}}
    few = replace(engines, options=replace(engines.options, max_objects=2))
    with pytest.raises(ReplyTooLarge, match=r"at most 2 \(--max-objects\): a smaller max_peaks"):
        found(few, {"text": TEXTS}, search="peaks", describe=[way], max_peaks=8)


def test_automatic_masks_are_looked_through(engines: Engines) -> None:
    own = found(engines, {"text": TEXTS, "negative_text": ["things"]}, **FEW, max_matches=2)
    assert all(len(each.matches) <= 2 for each in own.found)
    assert all(0 < match.score < 1 for each in own.found for match in each.matches)


def written(answer: ObjectsFound) -> object:
    """An answer as its bytes."""
    masks = [each.mask.segmentation for each in answer.objects]
    pixels = [each.data.tobytes() for each in masks if isinstance(each, Bits)]
    assert len(pixels) == len(answer.objects) > 0
    facts = [(each.level, each.parent, each.mask.predicted_iou) for each in answer.objects]
    scores = [[(each.object, each.score) for each in own.matches] for own in answer.found]
    return pixels, facts, scores, None if answer.text_map is None else answer.text_map.tobytes()


SEARCHES: list[dict[str, Any]] = [
    {**FEW, "describe": [CLIP_CROP]},
    {"search": "peaks", "describe": [{"clip": {"params": {"load_size": 96}}, "pooled": {}}]},
]


@pytest.mark.parametrize("search", SEARCHES)
def test_warm_caches_change_no_byte_of_what_is_found(engines: Engines, search: dict[str, Any]) -> None:
    options: dict[str, Any] = {**search, "min_score": -1, "ret_text_map": True, "digest": "sha256:found"}
    for each in engines.kept:
        each.clear()
    before = sum(each.hits for each in engines.caches())
    cold, warm = (written(found(engines, {"text": TEXTS}, **options)) for _ in range(2))
    assert sum(each.hits for each in engines.caches()) > before
    for each in engines.kept:
        each.clear()
    # Now each text is embedded by itself, or beside another one, before they are asked for together.
    found(engines, {"text": ["a dog", TEXTS[2]]}, **options)
    found(engines, {"text": TEXTS[1:2]}, **options)
    assert cold == warm == written(found(engines, {"text": TEXTS}, **options))


def vectors(rows: np.ndarray) -> dict[str, Any]:
    """A query for vectors Q x D."""
    return {"vectors": {"dtype": "float32", "shape": rows.shape, "data": rows.astype("<f4").tobytes()}}


ONES = np.ones((3, 128))
TWO: Any = {"describe": [CLIP_CROP, {"clip": {"params": {"load_size": 96}}, "pooled": {}}]}
BLIND = np.concatenate([ONES, ONES * [[1], [0], [1]]], axis=1)
"""Of two ways the second has nothing of row 1."""
WRONG: list[Any] = [
    ("params.describe", {"text": TEXTS}, {"describe": [{"dino": {}, "pooled": {}}]}, "let every way be clip"),
    ("query.vectors", vectors(ONES[:, :3]), {}, "its shape is 3 x 3; all ways to describe have 128 channels"),
    ("query.vectors", vectors(ONES[:0]), {}, "has no rows: give a vector for each object"),
    ("query.vectors", vectors(np.ones((257, 128))), {}, "257 vectors, at most 256"),
    ("query.vectors", vectors(ONES * [[1], [1], [0]]), {}, "row 2 is 0 for way 0"),
    ("query.vectors", vectors(BLIND), TWO, "row 1 is 0 for way 1"),
    ("params.templates", vectors(ONES), {"templates": ["a photo of {}"]}, "is about texts"),
    ("params.template_set", vectors(ONES), {"template_set": "imagenet"}, "is about texts"),
    ("params.relevancy_scale", vectors(ONES), {"relevancy_scale": 5}, "is about texts"),
]


@pytest.mark.parametrize(("field", "query", "params", "message"), WRONG)
def test_what_cannot_be_compared_is_refused(
    engines: Engines, field: str, query: dict[str, Any], params: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidFields, match=message) as caught:
        found(engines, query, {"boxes": BOXES}, **params)
    assert [each.field for each in caught.value.violations] == [field]


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_of_a_vector_only_its_direction_counts(engines: Engines, factor: float) -> None:
    own = described(engines, {"boxes": BOXES}, describe=[CLIP_CROP]).descriptors[0].vectors
    # The squares of such numbers are 0, or none, in float32.
    answer = found(engines, vectors(own[2:3] * factor), {"boxes": BOXES}, describe=[CLIP_CROP])
    assert answer.found[0].matches[0].score == pytest.approx(1, abs=1e-5)


def test_what_no_way_sees_fits_nothing(engines: Engines) -> None:
    masks = np.zeros((2, 90, 120), np.uint8)
    masks[1, 20:60, 20:60] = 1
    source = {"bitmaps": {"dtype": "uint8", "shape": masks.shape, "data": masks.tobytes()}}
    for negative in ({}, {"negative_text": ["things"]}):
        own = found(engines, {"text": TEXTS, **negative}, source, describe=[CLIP_CROP], min_score=-1)
        assert [each.mask.area for each in own.objects] == [1600]


def test_vectors_have_nothing_that_they_are_not() -> None:
    with pytest.raises(ValidationError, match="is what a text is not"):
        S.ObjectQuery.model_validate({**vectors(ONES), "negative_text": ["things"]})


def test_peaks_need_dense_features(engines: Engines) -> None:
    with pytest.raises(InvalidFields, match="peaks are those of dense features"):
        found(engines, {"text": TEXTS}, search="peaks", describe=[CLIP_CROP])


def test_a_map_of_texts_must_fit_json(engines: Engines) -> None:
    options: dict[str, Any] = {"describe": [CLIP_CROP], "mask_encoding": "coco_rle"}
    way = Way(json=Json(1000))
    found(engines, {"text": TEXTS}, {"boxes": BOXES}, way, **options)
    with pytest.raises(ReplyTooLarge, match=f"{2 * 90 * 120} bytes, at most 1000 in JSON.*ret_text_map"):
        found(engines, {"text": TEXTS}, {"boxes": BOXES}, way, **options, ret_text_map=True)
