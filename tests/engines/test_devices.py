"""Threads that share a model, memory that runs out, and GPUs."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from featsvc.errors import OutOfMemory
from featsvc.v1 import schema
from featsvc.v1.schema import ClipExtractFeaturesParams, PredictMasksParams, Prompt
from featsvc.work.item import PromptItem
from featsvc.work.operations import EXTRACT_CLIP, EXTRACT_DINO, PREDICT_MASKS, Family
from featsvc.work.results import Features, PromptMasks, PromptResults
from tests.engines import models
from tests.engines.pretended.cases import FAMILIES
from tests.engines.pretended.cuda import PretendCuda

HOPPER = (9, 0)


def test_threads_that_share_a_model_do_not_share_pictures(engines: Engines, small_sam2: Sam2Model) -> None:
    params = PredictMasksParams()
    prompt = Prompt(point_coords=((20.0, 30.0),), point_labels=(1,))
    items = [
        PromptItem(models.encoded(models.picture(60 + 10 * each, 50, each)), prompts=(prompt,))
        for each in range(4)
    ]

    def masks(item: PromptItem) -> PromptMasks:
        (one,) = models.prompted(engines, item, params, small_sam2).results
        return one

    alone = [masks(item) for item in items]
    together: list[PromptMasks | None] = [None] * len(items)

    def work(index: int) -> None:
        for _ in range(3):
            together[index] = masks(items[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(items))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert other is not None
        np.testing.assert_array_equal(one.low_res_masks, other.low_res_masks)
        assert one.masks.shape == other.masks.shape


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_device_without_memory_is_an_error_that_a_pool_can_act_on(
    engines: Engines, demo_clip: ClipModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr("featsvc.engines.clip.dense_pass.dense_features", fail)
    params = ClipExtractFeaturesParams(load_size=48)
    with pytest.raises(OutOfMemory, match="no memory for 1 items"):
        models.answer(engines, EXTRACT_CLIP.rpc, models.picture_item(75, 50), params, demo_clip)


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_answers_what_the_cpu_answers(engines: Engines, family: Family) -> None:
    answers_alike(engines, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pretended_gpu_answers_what_the_cpu_answers(engines: Engines, family: Family) -> None:
    with PretendCuda(count=1, capability=HOPPER).installed() as cuda, cuda.at_work():
        answers_alike(engines, family)


def answers_alike(engines: Engines, family: Family) -> None:
    """Fails where a GPU answers otherwise than engines on the CPU."""
    # These bounds are of float32, and a GPU would take what is less exact by itself.
    on_gpu = models.engines(device="cuda:0", precision="fp32")
    item = PromptItem(models.encoded(models.picture(90, 60)))
    name, params = {
        "clip": (EXTRACT_CLIP.rpc, ClipExtractFeaturesParams(load_size=60)),
        "dino": (EXTRACT_DINO.rpc, schema.DinoExtractFeaturesParams(stride=7)),
        "sam2": (PREDICT_MASKS.rpc, PredictMasksParams(return_logits=True)),
    }[family]
    here, there = (
        models.answer(each, name, item, params, each.load(f"demo-{family}")) for each in (engines, on_gpu)
    )
    if isinstance(here, Features):
        assert isinstance(there, Features)
        np.testing.assert_allclose(there.features, here.features, atol=1e-2)
    else:
        assert isinstance(here, PromptResults)
        assert isinstance(there, PromptResults)
        one, other = here.results[0].masks, there.results[0].masks
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
        np.testing.assert_allclose(other, one, atol=1e-1)
