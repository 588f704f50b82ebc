"""Every documented option of CLIP features changes what it should; the others have such tests beside them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from featsvc.engines.clip_model import ClipModel
from featsvc.engines.item import Item
from featsvc.engines.registry import Engines
from featsvc.engines.results import Features, PromptMasks
from featsvc.engines.sam2_model import Sam2Model
from featsvc.errors import OutOfMemory
from featsvc.v1 import schema
from featsvc.v1.schema import ClipExtractFeaturesParams, PredictMasksParams, Prompt
from tests.engines import models, test_dino, test_sam2_automatic, test_similarity

BASE = {"load_size": 48}
OPTIONS = {
    "ret_pca": True,
    "ret_patches": False,
    "load_size": 80,
    "center_crop": True,
    "tensor_format": "CHW",
    "padding_mode": "reflect",
}
WITHIN = {
    "pca_q_min": ({"ret_pca": True}, 0.3),
    "pca_q_max": ({"ret_pca": True}, 0.6),
    "interpolation_mode": ({"ret_patches": False}, "nearest"),
}
# These name the model, which is chosen before an engine is asked.
MODEL = {"model_name", "model_pretrained", "model_type", "model_cfg", "checkpoint_path"}


def extract(engines: Engines, model: ClipModel, **options: object) -> np.ndarray:
    params = ClipExtractFeaturesParams(**{**BASE, **options})
    result = models.answer(engines, "clip.extract_features", models.picture_item(75, 50), params, model)
    assert isinstance(result, Features)
    return result.features


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape != other.shape or bool(np.abs(one - other).max() > 1e-4)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_an_option_changes_clip_features(engines: Engines, demo_clip: ClipModel, name: str) -> None:
    assert differ(extract(engines, demo_clip), extract(engines, demo_clip, **{name: OPTIONS[name]}))


@pytest.mark.parametrize("name", list(WITHIN))
def test_an_option_changes_clip_features_where_it_applies(
    engines: Engines, demo_clip: ClipModel, name: str
) -> None:
    context, value = WITHIN[name]
    before = extract(engines, demo_clip, **context)
    assert differ(before, extract(engines, demo_clip, **context, **{name: value}))


def test_iterations_of_an_exact_solution_change_nothing(engines: Engines, demo_clip: ClipModel) -> None:
    once, often = (extract(engines, demo_clip, ret_pca=True, pca_niter=count) for count in (0, 100))
    assert once.tobytes() == often.tobytes()


def test_no_option_is_without_a_test() -> None:
    clip = {*OPTIONS, *WITHIN, "pca_niter"}
    assert clip | MODEL >= set(ClipExtractFeaturesParams.model_fields)
    similarity = {*test_similarity.OPTIONS, "center_crop", "interpolation_mode", "ret_pca"}
    assert similarity | MODEL >= set(schema.ComputeSimilarityParams.model_fields)
    dino = {*test_dino.OPTIONS, "pca_niter", "pca_q_min", "pca_q_max", "interpolation_mode"}
    assert dino | MODEL >= set(schema.DinoExtractFeaturesParams.model_fields)
    automatic = {*test_sam2_automatic.FILTERS, *test_sam2_automatic.CROP_OPTIONS}
    automatic |= {"preset", "point_grids", "output_mode", "points_per_batch"}
    assert automatic | MODEL >= set(schema.GenerateMasksParams.model_fields)


def test_threads_that_share_a_model_do_not_share_pictures(engines: Engines, small_sam2: Sam2Model) -> None:
    params = PredictMasksParams()
    prompt = Prompt(point_coords=((20.0, 30.0),), point_labels=(1,))
    items = [
        Item(models.encoded(models.picture(60 + 10 * each, 50, each)), prompts=(prompt,)) for each in range(4)
    ]

    def masks(item: Item) -> PromptMasks:
        (one,) = models.answer(engines, "sam2.predict_masks", item, params, small_sam2)
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

    monkeypatch.setattr("featsvc.engines.clip.dense_features", fail)
    with pytest.raises(OutOfMemory, match="no memory for 1 items"):
        extract(engines, demo_clip)


@pytest.mark.gpu
@pytest.mark.parametrize("operation", ["clip", "dino", "sam2"])
def test_a_gpu_answers_what_the_cpu_answers(engines: Engines, operation: str) -> None:
    on_gpu = models.engines(device="cuda:0")
    item = models.picture_item(90, 60)
    name, params = {
        "clip": ("clip.extract_features", ClipExtractFeaturesParams(load_size=60)),
        "dino": ("dino.extract_features", schema.DinoExtractFeaturesParams(stride=7)),
        "sam2": ("sam2.predict_masks", PredictMasksParams(return_logits=True)),
    }[operation]
    here, there = (
        models.answer(each, name, item, params, each.load(f"demo-{operation}")) for each in (engines, on_gpu)
    )
    if isinstance(here, Features):
        np.testing.assert_allclose(there.features, here.features, atol=1e-2)
    else:
        np.testing.assert_allclose(there[0].masks, here[0].masks, atol=1e-1)
