"""The picture that `featsvc demo` draws."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest

from featsvc.demo.drawing.scenes import draw
from featsvc.demo.show import MARGIN, SEED, SHOWN, SIDE, TITLE, answers, in_english, show, titled
from featsvc.errors import InvalidArgument
from tests.servers import KEY, Server


@pytest.mark.parametrize("name", ["localhost:50051", "picture", "picture.txt"])
def test_a_name_that_is_no_pictures_is_refused_before_anybody_is_asked(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"such as \.png"):
        show(tmp_path / name, "127.0.0.1:1", "any key")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a orange ring", "an orange ring"),
        ("a red star, a orange cross and a orange ring", "a red star, an orange cross and an orange ring"),
    ],
)  # fmt: skip
def test_phrases_are_shown_as_people_write_them(text: str, written: str) -> None:
    assert in_english(text) == written


def test_every_object_of_the_picture_has_a_mask_and_a_colour_of_its_own(demo_server: Server) -> None:
    scene = draw(SEED, SHOWN)
    with grpc.insecure_channel(demo_server.target) as channel:
        *_, panel = answers(channel, (("authorization", f"Bearer {KEY}"),), scene)
    assert len(scene.objects) == 5
    # Colours of the painted objects, as the middle of each one's pixels.
    changed = np.abs(panel.astype(int) - scene.image).sum(axis=2) > 30
    for mask, each in zip(scene.masks, scene.objects, strict=True):
        assert changed[mask].mean() > 0.9, each.text
    background = ~scene.masks.any(axis=0)
    assert changed[background].mean() < 0.1, "what lies behind keeps its colour"


def test_each_panel_stands_under_its_title() -> None:
    panels = [np.full((SIDE, SIDE, 3), shade, np.uint8) for shade in (0, 100)]
    sheet = titled(panels, ("one", "another"))
    assert sheet.shape == (SIDE + TITLE, 2 * SIDE + MARGIN, 3)
    for number, panel in enumerate(panels):
        x = number * (SIDE + MARGIN)
        np.testing.assert_array_equal(sheet[TITLE:, x : x + SIDE], panel)
        assert sheet[:TITLE, x : x + SIDE].min() < 100, "there is a title"
