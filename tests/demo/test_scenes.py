"""Scenes are the same for the same seed, and say exactly what is where."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from featsvc.demo.drawing.scene_cache import cached
from featsvc.demo.drawing.scenes import STANDARD, Object, SceneOptions, draw
from featsvc.demo.drawing.shapes import SHAPES, Pose, coverage
from featsvc.demo.drawing.textures import COLOURS

SEVERAL = SceneOptions(several_colours=True)


@pytest.mark.parametrize("options", [STANDARD, SEVERAL, SceneOptions(size=128, palette=2)])
def test_the_same_seed_draws_the_same_scene(options: SceneOptions) -> None:
    first, second = draw(7, options), draw(7, options)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.masks.tobytes() == second.masks.tobytes()
    assert first.objects == second.objects


def test_another_seed_draws_another_scene() -> None:
    assert draw(1).image.tobytes() != draw(2).image.tobytes()


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_disjoint_and_one_for_each_object(seed: int) -> None:
    scene = draw(seed)
    assert scene.masks.shape == (len(scene.objects), 256, 256)
    assert scene.masks.sum(axis=0).max() == 1
    assert scene.masks.any(axis=(1, 2)).all()


@pytest.mark.parametrize("seed", range(12))
def test_a_mask_holds_the_pixels_of_its_object_colour_and_no_others_do(seed: int) -> None:
    scene = draw(seed)
    spread = scene.image.max(axis=2).astype(int) - scene.image.min(axis=2)
    # Objects are vivid and backgrounds dull, up to the blended rim of an object.
    assert (spread[scene.masks.any(axis=0)] > 60).mean() > 0.98
    assert (spread[~scene.masks.any(axis=0)] < 80).mean() > 0.98


@pytest.mark.parametrize("seed", range(12))
def test_objects_have_different_names_and_run_from_left_to_right(seed: int) -> None:
    scene = draw(seed)
    assert len(set(scene.objects)) == len(scene.objects)
    centres = [np.flatnonzero(mask.any(axis=0)).mean() for mask in scene.masks]
    assert centres == sorted(centres)


@pytest.mark.parametrize("seed", range(12))
def test_objects_that_share_a_colour_do_not_touch(seed: int) -> None:
    scene = draw(seed, SceneOptions(min_objects=3, palette=2))
    for first, second in combinations(range(len(scene.objects)), 2):
        if scene.objects[first].colour == scene.objects[second].colour:
            grown = scene.masks[first].copy()
            for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
                grown |= np.roll(scene.masks[first], step, axis)
            assert not (grown & scene.masks[second]).any()


def test_a_caption_names_every_object_in_words() -> None:
    captions = {len(scene.objects): scene.caption for scene in map(draw, range(40))}
    assert set(captions) == {1, 2, 3, 4, 5, 6}
    assert [captions[1].count(word) for word in ("a ", ",", " and ")] == [1, 0, 0]
    assert [captions[3].count(word) for word in (",", " and ")] == [1, 1]
    assert Object(("red",), "circle").text == "a red circle"


def test_an_object_of_several_colours_shows_them() -> None:
    scene = draw(3, SEVERAL)
    for mask, each in zip(scene.masks, scene.objects, strict=True):
        assert 2 <= len(each.colours) <= 3
        assert scene.image[mask].std(axis=0).max() > 15


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_covers_its_middle_unless_it_is_a_ring(shape: str) -> None:
    covered = coverage(shape, Pose(50, 50, 40, 0.3), 100)
    assert (covered[50, 50] > 0.5) == (shape != "ring")
    assert 0.2 * 80**2 < covered.sum() < 80**2


def test_scenes_from_the_cache_are_the_scenes_drawn(tmp_path: Path) -> None:
    cached(20, 3, STANDARD, tmp_path)
    again = cached(20, 3, STANDARD, tmp_path)
    scene = draw(21)
    assert np.array_equal(again.images[1], scene.image)
    assert again.objects[1] == scene.objects
    assert again.caption(1) == scene.caption
    for number, mask in enumerate(scene.masks, 1):
        assert np.array_equal(again.owners[1] == number, mask)


def test_colours_and_shapes_are_as_many_as_documented() -> None:
    assert (len(COLOURS), len(SHAPES)) == (8, 6)
