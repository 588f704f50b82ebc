"""The demo models, through the engines, see what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Scene, draw
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from featsvc.v1.schema import ComputeSimilarityParams, PredictMasksParams, Prompt, TextQuery
from featsvc.work.item import PromptItem, QueryItem
from featsvc.work.operations import COMPUTE_SIMILARITY
from tests.engines import models

SCENES = range(HELD_OUT_SEED + 500, HELD_OUT_SEED + 512)


def file_of(scene: Scene) -> bytes:
    return models.encoded(Image.fromarray(scene.image))


def test_a_colour_and_shape_light_up_that_object(engines: Engines, demo_clip: ClipModel) -> None:
    hits = []
    for scene in map(draw, SCENES):
        query = TextQuery(text=tuple(each.text for each in scene.objects))
        params = ComputeSimilarityParams(load_size=256, ret_patches=False, softmax=0)
        item = QueryItem(file_of(scene), query=query)
        maps = models.answer(engines, COMPUTE_SIMILARITY.rpc, item, params, demo_clip).similarity_map
        for found, mask in zip(maps.reshape(-1, *maps.shape[-2:]), scene.masks, strict=True):
            hits.append(bool(mask[np.unravel_index(found.argmax(), found.shape)]))
    assert np.mean(hits) > 0.75


@pytest.mark.parametrize("by", ["click", "box"])
def test_a_prompt_returns_the_object_it_points_at(engines: Engines, demo_sam2: Sam2Model, by: str) -> None:
    scores = []
    for scene in map(draw, SCENES):
        prompts = tuple(prompt_for(mask, by) for mask in scene.masks)
        item = PromptItem(file_of(scene), prompts=prompts)
        answers = models.prompted(engines, item, PredictMasksParams(), demo_sam2)
        for answer, mask in zip(answers.results, scene.masks, strict=True):
            scores.append(max(iou(each, mask) for each in models.unpacked(answer.masks)))
    assert np.mean(scores) > 0.75


def prompt_for(mask: np.ndarray, by: str) -> Prompt:
    """A click on a pixel of the object, or the box around it."""
    rows, columns = np.nonzero(mask)
    if by == "box":
        return Prompt(box=(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    # The pixel of the object that is nearest to its middle.
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return Prompt(point_coords=((float(columns[nearest]), float(rows[nearest])),), point_labels=(1,))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())
