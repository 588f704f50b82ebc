"""How many points share a pass on a GPU: as many as were asked for, where there is memory for them."""

from __future__ import annotations

import pytest
import torch

from featsvc.engines.sam2 import passes
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
