"""SAM2 in bfloat16 finds the masks that it finds in float32: how near they are, on pictures that demo-sam2 knows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, draw
from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from featsvc.v1.schema import EmbedImageParams, GenerateMasksParams, PredictMasksParams
from featsvc.work.item import PictureItem, PromptItem
from featsvc.work.operations import EMBED_IMAGE, GENERATE_MASKS
from featsvc.work.results import MaskList
from tests.engines import models
from tests.engines.test_meaning import iou, prompt_for

SCENES = range(HELD_OUT_SEED + 600, HELD_OUT_SEED + 606)


@pytest.fixture(scope="module")
def lowered() -> tuple[Engines, Sam2Model]:
    """demo-sam2 in bfloat16."""
    engines = models.engines(precision="bf16")
    model = engines.load("demo-sam2")
    assert isinstance(model, Sam2Model)
    return engines, model


def automatic(engines: Engines, model: Sam2Model, picture: bytes) -> list[np.ndarray]:
    params = GenerateMasksParams(points_per_side=8)
    found = models.answer(engines, GENERATE_MASKS.rpc, PictureItem(picture), params, model)
    assert isinstance(found, MaskList)
    return [models.unpacked(each.segmentation) for each in found.masks]


@pytest.mark.slow
def test_automatic_masks_stay_what_they_are(
    engines: Engines, demo_sam2: Sam2Model, lowered: tuple[Engines, Sam2Model]
) -> None:
    best: list[float] = []
    for scene in map(draw, SCENES):
        picture = models.encoded(Image.fromarray(scene.image))
        exact, rounded = automatic(engines, demo_sam2, picture), automatic(*lowered, picture)
        best += [max((iou(mask, other) for other in rounded), default=0.0) for mask in exact]
    assert len(best) >= 10
    assert np.median(best) >= 0.99
    # One at the edge of a threshold may come or go, or give way to another one of the same object.
    assert np.mean(np.array(best) >= 0.97) >= 0.9


@pytest.mark.parametrize("by", ["click", "box"])
@pytest.mark.parametrize("multimask", [True, False])
def test_masks_of_prompts_stay_what_they_are(
    engines: Engines, demo_sam2: Sam2Model, lowered: tuple[Engines, Sam2Model], by: str, multimask: bool
) -> None:
    same: list[float] = []
    for scene in map(draw, SCENES):
        prompts = tuple(prompt_for(mask, by) for mask in scene.masks)
        item = PromptItem(models.encoded(Image.fromarray(scene.image)), prompts=prompts)
        params = PredictMasksParams(multimask_output=multimask)
        exact = models.prompted(engines, item, params, demo_sam2)
        rounded = models.prompted(lowered[0], item, params, lowered[1])
        for one, other in zip(exact.results, rounded.results, strict=True):
            assert other.low_res_masks.dtype == other.iou_predictions.dtype == np.float32
            best = int(one.iou_predictions.argmax())
            same.append(iou(models.unpacked(one.masks)[best], models.unpacked(other.masks)[best]))
    assert np.median(same) >= 0.99
    assert np.mean(np.array(same) >= 0.97) >= 0.9


def test_an_embedding_takes_half_the_memory(
    lowered: tuple[Engines, Sam2Model], engines: Engines, demo_sam2: Sam2Model
) -> None:
    item = models.picture_item(300, 220)
    half = models.answer(lowered[0], EMBED_IMAGE.rpc, item, EmbedImageParams(), lowered[1])
    whole = models.answer(engines, EMBED_IMAGE.rpc, item, EmbedImageParams(), demo_sam2)
    assert 2 * half.size_bytes == whole.size_bytes
    attention = lowered[1].network.sam_mask_decoder.transformer.layers[0].self_attn
    assert attention.q_proj.weight.dtype is torch.bfloat16
