"""Crops around masks, pixel by pixel."""

from __future__ import annotations

from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.objects.crops import Crops, box_of, widened
from featsvc.engines.objects.describing import ByCrops
from featsvc.engines.objects.networks import ClipNetwork, DinoNetwork
from featsvc.v1.schema import Background, ClipParams, CropDescriptor, DinoParams, Squaring
from tests.engines import models

PICTURE = models.picture(40, 30)
MASK = np.zeros((30, 40), bool)
MASK[10:20, 12:30] = True
MASK[12, 14] = False


def crops(**options: object) -> list[np.ndarray]:
    way = CropDescriptor.model_validate(options)
    return [np.asarray(each) for each in Crops(PICTURE, way).of(MASK)]


def test_a_crop_is_the_box_of_the_mask() -> None:
    assert box_of(MASK) == (12, 10, 30, 20)
    assert box_of(np.zeros((3, 3), bool)) == (0, 0, 0, 0)
    (crop,) = crops()
    np.testing.assert_array_equal(crop, np.asarray(PICTURE)[10:20, 12:30])


def test_margins_are_pixels_parts_of_the_box_and_levels_and_end_at_the_picture() -> None:
    box = (12, 10, 30, 20)
    way = CropDescriptor(margin_px=2, margin=0.5, levels=3, level_margin=0.15)
    # A half of 18 and 10, and 2.7 and 1.5 for each level, rounded down.
    assert widened(box, way, 0, (400, 300)) == (1, 3, 41, 27)
    assert widened(box, way, 2, (400, 300)) == (0, 1, 45, 29)
    assert widened(box, way, 2, (40, 28)) == (0, 1, 40, 28)
    assert [each.shape[:2] for each in crops(levels=2, level_margin=0.2)] == [(10, 18), (14, 24)]


@pytest.mark.parametrize("background", [each for each in Background if each is not Background.KEPT])
def test_only_what_is_outside_of_the_mask_changes(background: Background) -> None:
    (crop,) = crops(background=background, margin_px=3, blur=2.0)
    inside = MASK[7:23, 9:33]
    plain = np.asarray(PICTURE)
    np.testing.assert_array_equal(crop[inside], plain[7:23, 9:33][inside])
    if background is Background.BLACK:
        assert not crop[~inside].any()
    elif background is Background.GREY:
        grey = np.asarray(PICTURE.convert("L"))[7:23, 9:33, None].repeat(3, axis=2)
        np.testing.assert_array_equal(crop[~inside], grey[~inside])
    else:
        blurred = np.asarray(PICTURE.filter(ImageFilter.GaussianBlur(2)), np.int16)[7:23, 9:33]
        # Pillow's is made of boxes, and ends otherwise at the edge of the picture.
        assert np.abs(crop[~inside] - blurred[~inside]).mean() < 2


def test_padding_makes_a_square_with_black_at_both_ends() -> None:
    (crop,) = crops(squaring=Squaring.PAD)
    assert crop.shape == (18, 18, 3)
    np.testing.assert_array_equal(crop[4:14], np.asarray(PICTURE)[10:20, 12:30])
    assert not crop[:4].any()
    assert not crop[14:].any()


def test_each_level_has_a_plain_crop_beside_where_both_are_mixed() -> None:
    counts = {
        (background, weight): len(crops(levels=2, background=background, masked_weight=weight))
        for background, weight in product((Background.KEPT, Background.BLACK), (1.0, 0.75))
    }
    assert list(counts.values()) == [2, 2, 2, 4]
    changed, plain, _, _ = crops(levels=2, background=Background.BLACK, masked_weight=0.75)
    assert not np.array_equal(changed, plain)
    np.testing.assert_array_equal(plain, np.asarray(PICTURE)[10:20, 12:30])
    assert isinstance(PICTURE, Image.Image)


def test_a_crop_that_is_too_long_for_a_square_is_made_smaller() -> None:
    mask = np.ones((2, 9000), bool)
    (crop,) = Crops(Image.new("RGB", (9000, 2), "white"), CropDescriptor(squaring=Squaring.PAD)).of(mask)
    assert crop.size == (4096, 4096)
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(crop).any(axis=(1, 2))), [2047])


@pytest.mark.parametrize("size", [(700, 9), (9, 700)])
def test_a_network_sees_the_middle_of_a_long_crop(
    demo_clip: ClipModel, demo_dino: DinoModel, size: tuple[int, int]
) -> None:
    crop = models.picture(*size)
    largest = 0
    resize = Image.Image.resize

    def watched(self: Image.Image, *arguments: Any, **options: Any) -> Image.Image:
        nonlocal largest
        found = resize(self, *arguments, **options)
        largest = max(largest, *found.size)
        return found

    for network in (ClipNetwork(demo_clip, ClipParams()), DinoNetwork(demo_dino, DinoParams())):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("featsvc.engines.objects.networks.MOST_ELONGATED", 1000)
            whole = network.seen(crop, Squaring.NONE).pixels
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Image.Image, "resize", watched)
            middle = network.seen(crop, Squaring.NONE).pixels
        np.testing.assert_allclose(
            middle.float(), whole.float(), atol=3 if whole.dtype == torch.uint8 else 0.1
        )
        assert 0 < largest <= 17 * int(network.crop_pixels**0.5)


def test_a_blur_counts_in_what_crops_cost(demo_clip: ClipModel) -> None:
    def flop(objects: int, **options: object) -> float:
        way = CropDescriptor.model_validate(options)
        return ByCrops(ClipNetwork(demo_clip, ClipParams()), Crops(PICTURE, way)).flop(objects)

    # 91 products and sums for each of 3 x 40 x 30 bytes, twice, once for all objects; 101 for each of 3 x 2.5 x 1.875.
    for blur, behind in ((15, 2 * 2 * 3 * 40 * 30 * 91), (200, 2 * 2 * 3 * 2.5 * 1.875 * 101)):
        for objects in (1, 5):
            plain = flop(objects, background="grey")
            assert flop(objects, background="blur", blur=blur) - plain == pytest.approx(behind)


@pytest.mark.parametrize("size", [(331, 253), (330, 1), (1, 330), (440, 33)])
@pytest.mark.parametrize("blur", [16, 31.9, 40, 200])
def test_a_wide_blur_is_a_gaussian_of_the_whole_picture(size: tuple[int, int], blur: float) -> None:
    picture = np.asarray(models.picture(*size)).copy()
    # Stripes and an edge, as hard as they can be.
    picture[::2, size[0] // 2 :] = 255
    picture[: size[1] // 3, : size[0] // 5] = 0
    both_ends = np.zeros(size[::-1], bool)
    both_ends[0, 0] = both_ends[-1, -1] = True
    (crop,) = Crops(Image.fromarray(picture), CropDescriptor(background=Background.BLUR, blur=blur)).of(
        both_ends
    )
    exact = cv2.GaussianBlur(picture.astype(np.float64), (0, 0), blur, borderType=cv2.BORDER_REFLECT)
    differ = np.abs(np.asarray(crop) - exact)[~both_ends]
    assert differ.max() < 3
    assert differ.mean() < 0.6


def test_a_picture_is_blurred_in_bands_as_it_is_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.asarray(models.picture(50, 200))
    way = CropDescriptor(background=Background.BLUR, blur=3)
    seen: list[int] = []
    corners = np.zeros((200, 50), bool)
    corners[0, 0] = corners[-1, -1] = True
    monkeypatch.setattr("featsvc.engines.objects.crops.BLUR_ROWS", 16)
    monkeypatch.setattr("featsvc.engines.objects.crops.step", lambda: seen.append(1))
    (crop,) = Crops(Image.fromarray(picture), way).of(corners)
    assert len(seen) == 1 + 200 // 16 + 1
    np.testing.assert_array_equal(np.asarray(crop)[1:-1], cv2.GaussianBlur(picture, (0, 0), 3)[1:-1])
