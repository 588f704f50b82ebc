"""A text is brightest where it is meant, and a place is most similar to what it resembles."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from featsvc_client import FeatsvcClient
from numpy.typing import NDArray

from featsvc.settings.access import DEFAULT_KEY
from tests.servers import Server
from tests.web.gallery import FOLDER, scene
from tests.web.look import Look, middle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Map = NDArray[np.float32]


def text(look: Look, words: str, negatives: str = "") -> None:
    look.page.get_by_role("button", name="Text CLIP").click()
    look.page.get_by_label("Texts, one a line").fill(words)
    look.page.get_by_label("But not, one a line").fill(negatives)


def saved(look: Look, name: str) -> Map:
    """A NumPy file that a button saves as soon as there is something to save."""
    array: Map = np.load(io.BytesIO(look.saved(name)))
    return array


def brightest(found: Map, size: int = 512) -> tuple[int, int]:
    """The pixel in the middle of the brightest patch, row and column."""
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    return int((row + 0.5) / found.shape[0] * size), int((column + 0.5) / found.shape[1] * size)


def painted(look: Look, index: int = 0) -> Map:
    """How light each pixel of the map on the screen is."""
    read: Callable[[str], object] = look.page.locator("canvas.overlay").nth(index).evaluate
    light = read(
        "canvas => { const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
        " return Array.from({length: all.length / 4}, (_, i) => all[4 * i] + all[4 * i + 1] + all[4 * i + 2]); }"
    )
    array: Map = np.array(light, np.float32).reshape(512, 512)
    return array


@pytest.mark.parametrize("name", ["stars-and-rings", "red-circle", "two-colours"])
def test_a_red_circle_is_brightest_inside_the_red_circle(look: Look, server: Server, name: str) -> None:
    drawn = scene(name)
    (circle,) = (
        mask for mask, each in zip(drawn.masks, drawn.objects, strict=True) if each.text == "a red circle"
    )
    look.open(name)
    text(look, "a red circle")
    found = saved(look, "Map")
    assert circle[brightest(found)]
    light = painted(look)
    assert circle[np.unravel_index(int(light.argmax()), light.shape)]
    # The page has computed it of features in float16: the server says the same.
    with FeatsvcClient(server.target, api_key=DEFAULT_KEY) as client:
        expected = client.similarity(FOLDER / f"{name}.jpg", "a red circle", softmax=0, load_size=448).array
    lengths_apart = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    assert lengths_apart > 0.98


def test_negatives_and_labels_are_those_of_the_server(look: Look, server: Server) -> None:
    drawn = scene("stars-and-rings")
    look.open("stars-and-rings")
    text(look, "a red circle", "a red star")
    found = saved(look, "Map")
    with FeatsvcClient(server.target, api_key=DEFAULT_KEY) as client:
        picture = FOLDER / "stars-and-rings.jpg"
        options = {"negative_text": ["a red star"], "load_size": 448}
        expected = client.similarity(picture, "a red circle", softmax=1.0, **options).array
    assert np.abs(found - expected).max() < 2e-3
    text(look, "a red circle\na blue ring")
    look.page.get_by_label("which fits best where").check()
    labels = saved(look, "Labels")
    for index, mask in enumerate(drawn.masks[:2]):
        x, y = middle(mask)
        assert labels[y * labels.shape[0] // 512, x * labels.shape[1] // 512] == index
    look.page.mouse.move(*look.at(*middle(drawn.masks[0])))
    look.page.locator("footer").get_by_text("a red circle").wait_for()


def test_pointing_at_a_circle_shows_the_other_circles(look: Look) -> None:
    drawn = scene("three-circles")
    look.open("three-circles")
    look.page.get_by_role("button", name="Similar places DINO").click()
    look.click(*middle(drawn.masks[1]))
    found = saved(look, "Map")
    scores = [float(found[_cell(found, mask)]) for mask in drawn.masks]
    nothing = float(found[_cell(found, ~np.any(drawn.masks, axis=0))])
    # Itself first, then the other circles, then what is no circle.
    assert scores[1] == max(scores)
    assert min(scores[0], scores[2]) > nothing
    light = painted(look)
    assert light[middle(drawn.masks[2])[::-1]] > light[40, 40]


def _cell(found: Map, mask: NDArray[np.bool_]) -> tuple[int, int]:
    x, y = middle(mask)
    return y * found.shape[0] // 512, x * found.shape[1] // 512


def test_a_second_picture_and_main_colours_share_what_was_pointed_at_and_one_basis(look: Look) -> None:
    first, second = scene("stars-and-rings"), scene("red-circle")
    look.open("stars-and-rings")
    look.page.get_by_role("button", name="Similar places DINO").click()
    look.open_second("red-circle")
    # A place of the ring: the ring of the other picture is nearest to it.
    look.click(*middle(first.masks[1]))
    look.page.get_by_text("answered in").wait_for()
    saved(look, "Map")
    light = _waited(look, 1)
    ring = second.masks[1]
    assert light[ring].mean() > light[~np.any(second.masks, axis=0)].mean()
    look.page.get_by_label("Main colours").check()
    ground = [
        _mean_colour(look, index, ~np.any(each.masks, axis=0)) for index, each in enumerate((first, second))
    ]
    circle = _mean_colour(look, 0, first.masks[0])
    assert np.abs(ground[0] - ground[1]).sum() < np.abs(ground[0] - circle).sum()


def _waited(look: Look, index: int) -> Map:
    """The map on the second picture, as soon as there is one."""
    look.page.locator("canvas.overlay[style*='0.8']").nth(index).wait_for()
    return painted(look, index)


def _mean_colour(look: Look, index: int, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    rgba = (
        look.page.locator("canvas.overlay")
        .nth(index)
        .evaluate("canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, 512, 512).data)")
    )
    colours: NDArray[np.float64] = np.reshape(rgba, (512, 512, 4))[mask][:, :3].mean(axis=0)
    return colours
