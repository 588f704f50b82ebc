"""What several callers ask of SAM2 on a GPU shares a pass, and each has the answer that it has alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Model
from featsvc.engines.sam2 import passes
from featsvc.fields.base import Parameters
from featsvc.settings.kinds import Precision
from featsvc.v1 import schema as S
from featsvc.work.item import PictureItem, PromptItem
from featsvc.work.results import EmbeddedImage
from tests.engines.pretended.cases import CASES, FAMILIES, MASK_SIDE, PICTURES, Case, answers, asked
from tests.engines.pretended.conftest import Workers
from tests.engines.pretended.numbers import BOUNDS, difference, numbers
from tests.engines.pretended.worker import PretendedWorker

ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
MASK_BYTES = 4 * MASK_SIDE**2
CLICK = S.Prompt(point_coords=((40.0, 30.0),), point_labels=(1,))


def attentions(worker: PretendedWorker, case: Case) -> int:
    """How many a case takes: each block of a network has one a pass."""
    worker.answers(case)
    return worker.cuda.operators[ATTENTION]


def of_some(params: Parameters, pictures: int, **fields: Any) -> Case:
    """About pictures of several sizes that nobody has named, so that all are encoded."""
    return asked(params, pictures=pictures, digest="", **fields)


def test_pictures_are_encoded_together(worker: PretendedWorker) -> None:
    one, three = (attentions(worker, of_some(S.EmbedImageParams(), count)) for count in (1, 3))
    assert one == three


def test_a_picture_that_two_ask_about_is_encoded_once_and_each_is_kept_by_itself(
    worker: PretendedWorker,
) -> None:
    case = asked(S.EmbedImageParams())
    first, other = (PictureItem(PICTURES[each], digest=f"sha256:of two {each}") for each in range(2))
    together = worker.answers(replace(case, items=(first, other, first)))
    assert worker.cuda.uploads.total() == 2
    alone = worker.answers(of_some(S.EmbedImageParams(), 1))
    kept = worker.answers(replace(case, items=(first, other)))
    assert not worker.cuda.uploads
    assert (
        len({each.size_bytes for each in (*together, *alone, *kept) if isinstance(each, EmbeddedImage)}) == 1
    )


@pytest.mark.parametrize("are_kept", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_clicks_on_several_pictures_are_decoded_together(
    workers: Workers, precision: Precision, are_kept: bool
) -> None:
    worker = workers(precision)
    make = asked if are_kept else of_some
    cases = [make(S.PredictMasksParams(), pictures=count, prompts=(CLICK,)) for count in (1, 3)]
    worker.answers(cases[1])
    one, three = (attentions(worker, case) for case in cases)
    assert one == three > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_prompts_of_all_kinds_about_several_pictures_are_answered_as_by_the_cpu(
    workers: Workers, engines: Engines, precision: Precision
) -> None:
    asked_before = [CASES[f"sam2 {name}"].items[0] for name in ("prompts", "mask alone", "no prompt")]
    prompts = [each for item in asked_before if isinstance(item, PromptItem) for each in item.prompts]
    prompts += [S.Prompt(), S.Prompt(), CLICK]
    case = asked(S.PredictMasksParams(return_logits=True), pictures=3, prompts=tuple(prompts))
    theirs = answers(engines, case, engines.load("demo-sam2"))
    for ours, other in zip(workers(precision).answers(case), theirs, strict=True):
        assert difference(numbers(ours), numbers(other)) <= BOUNDS[precision]


def test_crops_of_a_picture_are_encoded_together(worker: PretendedWorker) -> None:
    whole, crops = CASES["sam2 masks that are none"], CASES["sam2 masks in crops"]
    none = replace(crops, params=crops.params.model_copy(update={"pred_iou_thresh": 1.0}))
    unnamed = [replace(case, items=(PictureItem(PICTURES[0]),)) for case in (whole, none)]
    named = [attentions(worker, case) for case in (whole, whole, none, none)]
    new = [attentions(worker, case) for case in unnamed]
    encoder = new[0] - named[1]
    # The whole picture and its four crops are five embeddings in one pass.
    assert new[1] - named[3] == encoder > 0


@pytest.mark.parametrize("kept_bytes", [0, 3 * MASK_BYTES])
def test_masks_that_would_take_too_much_memory_are_looked_at_a_few_at_a_time(
    worker: PretendedWorker, monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    case = CASES["sam2 masks in batches"]
    (together,) = worker.answers(case)
    waits = worker.cuda.waits.total()
    monkeypatch.setattr(passes, "KEPT_BYTES", kept_bytes)
    (apart,) = worker.answers(case)
    assert difference(numbers(apart), numbers(together)) == 0
    assert worker.cuda.waits.total() > waits


def test_norms_in_a_small_type_take_no_copies(workers: Workers) -> None:
    for loaded in (workers("bf16").loaded[each] for each in FAMILIES):
        assert isinstance(loaded, Model)
        norms = [each for each in loaded.network.modules() if type(each).__name__ == "LayerNorm"]
        lowest = {each.weight.dtype for each in norms}
        assert torch.bfloat16 in lowest
