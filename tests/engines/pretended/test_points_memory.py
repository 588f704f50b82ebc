"""How many points share a pass on a GPU: as many as were asked for, where there is memory for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from featsvc.engines.sam2 import passes
from featsvc.engines.sam2.measure import FullSize, MaskFacts
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.points import Answers, PointDecoder
from featsvc.engines.sam2.prompts import Prompts
from featsvc.errors import OutOfMemory
from featsvc.v1 import schema as S
from tests.engines.pretended.cases import Case, asked
from tests.engines.pretended.numbers import Numbers, difference, numbers
from tests.engines.pretended.worker import DEVICE, PretendedWorker

POINTS = {
    "points_per_side": 4,
    "points_per_batch": 4096,
    "pred_iou_thresh": 0.3,
    "stability_score_thresh": 0.5,
}


@pytest.fixture(params=[False, True], ids=["once", "refined"])
def case(request: pytest.FixtureRequest) -> Case:
    """All points in one pass, without and with a second look at each mask."""
    return asked(S.GenerateMasksParams(**POINTS, use_m2m=request.param))


def masks(worker: PretendedWorker, case: Case) -> Numbers:
    """What it answers."""
    (result,) = worker.answers(case)
    return numbers(result)


def test_points_are_cut_to_what_is_free_and_have_the_same_masks(small: PretendedWorker, case: Case) -> None:
    whole = masks(small, case)
    model = small.loaded["sam2"]
    assert isinstance(model, Sam2Model)
    room = int(8 * passes.MASK_PROMPT_BYTES * model.passes.places / passes.SHARE)
    small.cuda.capacity = small.cuda.live[DEVICE] + room
    assert difference(masks(small, case), whole) <= 1e-4
    assert not small.cuda.lacks


def test_points_that_do_not_fit_are_halved_until_they_do(
    small: PretendedWorker, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = masks(small, case)
    used = small.cuda.peak[DEVICE] - small.cuda.live[DEVICE]
    monkeypatch.setattr(passes, "SHARE", 1000.0)
    small.cuda.capacity = small.cuda.live[DEVICE] + used // 3
    assert difference(masks(small, case), whole) <= 1e-4
    assert small.cuda.lacks[DEVICE]
    embeddings = next(each for each in small.engines.caches() if each.name == "sam2_embeddings")
    assert embeddings.entries == 1, "what is kept of others did not have to give way"


def test_who_asks_for_points_of_which_not_one_fits_is_told_what_was_tried(
    small: PretendedWorker, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def lack(self: PointDecoder, prompts: Prompts, *others: object) -> Answers:
        tried.append(prompts.count)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PointDecoder, "answers", lack)
    with pytest.raises(OutOfMemory, match="points_per_batch"):
        masks(small, case)
    # And once more where what is kept has made way.
    assert tried == [16, 8, 4, 2, 1] * 2


def test_masks_that_wait_are_looked_at_to_make_room_for_the_next_pass(
    small: PretendedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = asked(S.GenerateMasksParams(**{**POINTS, "points_per_batch": 3}))
    whole, waits = masks(small, case), small.cuda.waits.total()
    answers, asked_about = PointDecoder.answers, list[int]()

    def lack_once(self: PointDecoder, prompts: Prompts, *others: Any) -> Answers:
        asked_about.append(prompts.count)
        if len(asked_about) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answers(self, prompts, *others)

    monkeypatch.setattr(PointDecoder, "answers", lack_once)
    assert difference(masks(small, case), whole) == 0
    assert asked_about == [3, 3, 3, 3, 3, 3, 1], "the pass fits once the others have gone"
    # Six points are what there is room for, from then on.
    assert small.cuda.waits.total() == waits + 2 * 2


@pytest.mark.parametrize("most", [20, 1])
def test_masks_that_cannot_be_measured_at_once_are_measured_a_few_at_a_time(
    small: PretendedWorker, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    case = asked(S.GenerateMasksParams(**{**POINTS, "points_per_batch": 4, "pred_iou_thresh": 0.0}))
    whole, facts = masks(small, case), FullSize.facts

    def lack(self: FullSize, logits: torch.Tensor) -> list[MaskFacts]:
        if len(logits) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return facts(self, logits)

    monkeypatch.setattr(FullSize, "facts", lack)
    assert difference(masks(small, case), whole) == 0


def test_who_asks_for_masks_of_which_not_one_can_be_measured_is_told(
    small: PretendedWorker, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(self: FullSize, logits: torch.Tensor) -> list[MaskFacts]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FullSize, "facts", lack)
    with pytest.raises(OutOfMemory, match="points_per_batch"):
        masks(small, case)
