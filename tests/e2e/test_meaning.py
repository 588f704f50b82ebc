"""Drawn pictures, end to end: a click gives the shape, words light it up, automatic masks find all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Scene, SceneOptions, draw
from tests.e2e.transports import Transport

SCENES = SceneOptions(min_objects=3, max_objects=3, min_scale=0.3, max_scale=0.4)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw(HELD_OUT_SEED + 100 + number, SCENES) for number in range(4)]


def overlap(one: NDArray[np.generic], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    inside = one > 0
    return float((inside & other).sum() / max(1, (inside | other).sum()))


def middle(mask: NDArray[np.bool_]) -> list[int]:
    """The pixel of a shape that lies nearest to its centre, x and y."""
    rows, columns = np.nonzero(mask)
    nearest = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
    return [int(columns[nearest]), int(rows[nearest])]


def test_a_click_on_a_shape_gives_that_shape(transport: Transport, scenes: list[Scene]) -> None:
    found = []
    for scene in scenes:
        for mask in scene.masks:
            answer = transport.ask(
                "prompt_masks", scene.image, {"point_coords": [middle(mask)], "point_labels": [1]}
            )
            found.append(max(overlap(each, mask) for each in answer["masks"]))
    assert np.mean(found) > 0.8


def test_a_box_around_a_shape_gives_that_shape(transport: Transport, scenes: list[Scene]) -> None:
    found = []
    for scene in scenes:
        for mask in scene.masks:
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            answer = transport.ask("prompt_masks", scene.image, {"box": box, "multimask_output": False})
            found.append(overlap(answer["masks"][0], mask))
    assert np.mean(found) > 0.8


def test_the_name_of_a_shape_lights_it_up(transport: Transport, scenes: list[Scene]) -> None:
    hits = []
    for scene in scenes:
        for mask, drawn in zip(scene.masks, scene.objects, strict=True):
            params = {"text": drawn.text, "load_size": -1, "ret_patches": False, "softmax": 0}
            shown = transport.ask("similarity", scene.image, params)["array"]
            hits.append(bool(mask.ravel()[shown.argmax()]))
    assert np.mean(hits) > 0.8


@pytest.mark.parametrize(
    "params",
    [pytest.param({"preset": "coarse"}, id="coarse"), pytest.param({}, id="default", marks=pytest.mark.slow)],
)
def test_automatic_masks_find_the_shapes(
    transport: Transport, scenes: list[Scene], params: dict[str, str]
) -> None:
    found = []
    for scene in scenes[:2]:
        masks = transport.ask("auto_masks", scene.image, params)["masks"]
        found += [max((overlap(each, mask) for each in masks), default=0.0) for mask in scene.masks]
    assert np.mean(np.array(found) > 0.75) > 0.7
