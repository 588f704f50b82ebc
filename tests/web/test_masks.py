"""Clicks and boxes give the masks of what was meant, and everything that is done can be undone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.web.gallery import scene
from tests.web.look import Look, iou, middle

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools
]
SCENE = scene("stars-and-rings")
CIRCLE, RING, CROSS, STAR, _ = SCENE.masks


def test_a_click_in_the_middle_of_a_shape_gives_its_mask(look: Look) -> None:
    look.open("stars-and-rings")
    look.click(*middle(STAR))
    look.answered()
    assert iou(look.mask(), STAR) >= 0.85


@pytest.mark.slow
def test_a_place_that_is_left_out_makes_the_mask_smaller(look: Look) -> None:
    look.open("stars-and-rings")
    look.drag(*_box(CIRCLE | RING))
    look.click(*middle(RING))
    look.answered()
    merged = look.mask()
    x, y = middle(CIRCLE)
    assert merged[y, x]
    look.click(x, y, right=True)
    look.answered()
    less = look.mask()
    assert less.sum() < merged.sum()
    assert not less[y, x]


def _box(mask: NDArray[np.bool_]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two corners a little around it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (columns[0] - 4, rows[0] - 4), (columns[-1] + 4, rows[-1] + 4)


@pytest.mark.slow
def test_a_click_at_the_last_column_gives_a_mask_that_touches_the_edge(look: Look) -> None:
    look.open("stars-and-rings")
    look.click(511, 40)
    look.answered()
    assert look.mask()[:, -1].any()


@pytest.mark.slow
def test_undo_gives_back_the_very_same_mask(look: Look) -> None:
    look.open("stars-and-rings")
    look.click(*middle(STAR))
    look.answered()
    before = look.mask()
    look.click(*middle(CROSS))
    look.answered()
    assert (look.mask() != before).any()
    look.press("Undo")
    look.answered()
    assert (look.mask() == before).all()
    look.press("Redo")
    look.answered()
    assert (look.mask() != before).any()
    # By keys, and a click on a point takes it away as well.
    look.page.keyboard.press("Control+z")
    look.click(*middle(STAR))
    assert look.page.locator("[data-point]").count() == 0


@pytest.mark.slow
def test_a_box_gives_the_mask_within_and_a_second_object_is_its_own(look: Look) -> None:
    look.open("stars-and-rings")
    look.drag(*_box(STAR))
    look.answered()
    look.press("New object")
    look.click(*middle(CIRCLE))
    look.answered(2)
    star, circle = look.annotations()
    assert iou(star["mask"], STAR) >= 0.85
    assert iou(circle["mask"], CIRCLE) >= 0.85


@pytest.mark.slow
def test_the_coco_file_has_the_mask_that_is_on_the_screen(look: Look) -> None:
    look.open("stars-and-rings")
    look.click(*middle(STAR))
    look.answered()
    (found,) = look.annotations()
    white = np.array(Image.open(io.BytesIO(look.saved("PNG"))).convert("L")) > 127
    assert (white == found["mask"]).all()
    assert found["area"] == found["mask"].sum()
    labels = np.load(io.BytesIO(look.saved("Labels")))
    assert (labels == found["mask"]).all()
    # What is painted over the picture: the whole of the mask, and nothing else.
    painted = look.page.locator(".stage canvas.overlay").evaluate(
        "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, 512, 512).data.filter((_, i) => i % 4 == 3))"
    )
    assert ((np.reshape(painted, (512, 512)) > 0) == found["mask"]).all()


@pytest.mark.slow
def test_what_is_found_of_everything_is_kept_by_a_click(look: Look) -> None:
    look.open("stars-and-rings")
    look.press("Find everything")
    look.page.get_by_text("move over the picture").wait_for()
    look.page.mouse.move(*look.at(*middle(STAR)))
    look.click(*middle(STAR))
    look.click(*middle(CIRCLE))
    look.press("Done")
    star, circle = look.annotations()
    assert iou(star["mask"], STAR) >= 0.85
    assert iou(circle["mask"], CIRCLE) >= 0.85


@pytest.mark.slow
def test_what_a_text_names_is_found_and_kept_under_its_name(look: Look) -> None:
    drawn = scene("red-circle")
    (circle,) = (
        mask for mask, each in zip(drawn.masks, drawn.objects, strict=True) if each.text == "a red circle"
    )
    look.open("red-circle")
    look.page.get_by_label("Names of things, one a line").fill("a red circle\na blue square")
    look.page.get_by_role("button", name="Find by name").press("Enter")
    # The button has gone: who has no mouse goes on from there.
    look.page.locator("[aria-labelledby=finding]:focus").wait_for()
    look.page.get_by_role("button", name="Keep a red circle").click()
    assert "/sam2/find_objects" in look.page.locator("pre").inner_text()
    look.press("Done")
    (found,) = look.annotations()
    assert iou(found["mask"], circle) >= 0.85
    assert look.page.get_by_label("Name of the object").input_value() == "a red circle"
    # They are the texts of the tab beside it too.
    look.page.get_by_role("button", name="Text CLIP").click()
    assert look.page.get_by_label("Texts, one a line").input_value() == "a red circle\na blue square"


@pytest.mark.slow
def test_keys_alone_make_a_mask(look: Look) -> None:
    look.open("stars-and-rings")
    look.stage.focus()
    x, y = middle(STAR)
    for key, pixels in (("ArrowRight", x - 256), ("ArrowDown", y - 256)):
        for _ in range(round(pixels / 10)):
            look.page.keyboard.press(key)
    look.page.keyboard.press("Enter")
    look.answered()
    assert iou(look.mask(), STAR) >= 0.85
