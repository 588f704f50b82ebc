"""Choosing, counting, labelling and drawing masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featsvc_client import Mask
from featsvc_client.drawing import heat_picture, label_picture, mask_picture, overlay, palette, pca_picture
from featsvc_client.grid import positions
from featsvc_client.masks import chosen, from_entries, instance_map, statistics
from PIL import Image
from pycocotools import mask as coco

from featsvc.v1 import image_pb2

HEIGHT, WIDTH = 20, 30


def square(x: int, y: int, side: int, **facts: Any) -> Mask:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[y : y + side, x : x + side] = True
    values = {"predicted_iou": 0.9, "stability_score": 0.95, **facts}
    return Mask(
        pixels,
        side * side,
        (x, y, side, side),
        values["predicted_iou"],
        np.zeros((0, 2)),
        values["stability_score"],
        (0, 0, WIDTH, HEIGHT),
    )


SMALL, LARGE = square(1, 1, 3), square(10, 5, 10, predicted_iou=0.8, stability_score=0.99)
ON_TOP = square(12, 7, 4, predicted_iou=0.85)


def test_masks_are_chosen_by_area_and_scores() -> None:
    masks = [SMALL, LARGE, ON_TOP]
    assert chosen(masks) == masks
    assert chosen(masks, min_area=9) == masks
    assert chosen(masks, min_area=10) == [LARGE, ON_TOP]
    assert chosen(masks, max_area=16) == [SMALL, ON_TOP]
    assert chosen(masks, min_predicted_iou=0.85) == [SMALL, ON_TOP]
    assert chosen(masks, min_stability_score=0.96) == [LARGE]


def test_statistics_count_covered_pixels_once() -> None:
    found = statistics([SMALL, LARGE, ON_TOP])
    assert (found.count, found.smallest_area, found.median_area, found.largest_area) == (3, 9, 16, 100)
    assert found.covered_fraction == pytest.approx(109 / (HEIGHT * WIDTH))
    assert found.mean_predicted_iou == pytest.approx(0.85)
    assert found.mean_stability_score == pytest.approx((0.95 + 0.99 + 0.95) / 3)


def test_statistics_of_no_masks_are_zeros() -> None:
    assert statistics([]).count == 0


@pytest.mark.parametrize("order", [[SMALL, LARGE, ON_TOP], [ON_TOP, LARGE, SMALL]])
def test_the_best_mask_is_on_top_of_the_instance_map(order: list[Mask]) -> None:
    labels = instance_map(order)
    assert labels.dtype == np.uint16
    assert labels[0, 0] == 0
    assert labels[8, 13] == order.index(ON_TOP) + 1
    assert labels[6, 11] == order.index(LARGE) + 1
    assert [(labels == n + 1).sum() for n, _ in enumerate(order)] == [
        m.area - 16 * (m is LARGE) for m in order
    ]


def test_of_equal_masks_the_earlier_is_on_top() -> None:
    assert set(np.unique(instance_map([LARGE, LARGE]))) == {0, 1}


def test_more_masks_than_uint16_holds_get_a_wider_map() -> None:
    dot = Mask(np.ones((1, 1), bool), 1, (0, 0, 0, 0), 0.5, np.zeros((0, 2)), 1.0, (0, 0, 1, 1))
    labels = instance_map([dot] * 65536)
    assert labels.dtype == np.int32


def test_an_instance_map_needs_a_mask() -> None:
    with pytest.raises(ValueError, match="size of the picture is unknown"):
        instance_map([])


def test_entries_of_the_rest_functions_become_masks() -> None:
    packed = coco.encode(np.asfortranarray(LARGE.segmentation, np.uint8))
    facts = {
        "area": 100,
        "bbox": [10, 5, 10, 10],
        "predicted_iou": 0.8,
        "point_coords": [[12, 8]],
        "stability_score": 0.99,
        "crop_box": [0, 0, WIDTH, HEIGHT],
    }
    for segmentation in (LARGE.segmentation, packed):
        (mask,) = from_entries([{"segmentation": segmentation, **facts}])
        np.testing.assert_array_equal(mask.segmentation, LARGE.segmentation)
        assert (mask.area, mask.bbox, mask.predicted_iou) == (LARGE.area, LARGE.bbox, LARGE.predicted_iou)
        assert mask.point_coords.tolist() == [[12, 8]]


def test_arrays_become_masks_with_area_and_box() -> None:
    full, empty = from_entries([LARGE.segmentation.astype(np.float32), np.zeros((HEIGHT, WIDTH))])
    assert (full.area, full.bbox) == (100, (10, 5, 9, 9))
    assert (empty.area, empty.bbox) == (0, (0, 0, 0, 0))


def test_an_overlay_colours_masks_and_leaves_the_rest(tmp_path: Path) -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    for given in (picture, Image.fromarray(picture), path, str(path)):
        drawn = np.asarray(overlay(given, [SMALL, ON_TOP], outline=False))
        assert (drawn[0, 0] == 100).all()
        expected = (100 + palette(2)[1:].astype(float)) / 2
        np.testing.assert_allclose(drawn[2, 2], expected[0], atol=1)
        np.testing.assert_allclose(drawn[9, 14], expected[1], atol=1)


def test_an_overlay_outlines_masks_in_white() -> None:
    drawn = np.asarray(overlay(np.zeros((HEIGHT, WIDTH, 3), np.uint8), [LARGE]))
    assert (drawn[5:15, 19] == 255).all()
    assert (drawn[10, 15] != 255).any()


def test_an_overlay_of_no_masks_is_the_picture() -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    np.testing.assert_array_equal(np.asarray(overlay(picture, [])), picture)


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="masks of 30 x 20 on a picture of 31 x 20"):
        overlay(np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8), [LARGE])


def test_label_and_mask_pictures_survive_png(tmp_path: Path) -> None:
    label_picture([SMALL, LARGE]).save(tmp_path / "labels.png")
    mask_picture(LARGE).save(tmp_path / "mask.png")
    with Image.open(tmp_path / "labels.png") as labels, Image.open(tmp_path / "mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(labels), palette(2)[instance_map([SMALL, LARGE])])
        np.testing.assert_array_equal(np.asarray(mask), LARGE.segmentation * np.uint8(255))


def test_colours_differ_and_stay_the_same() -> None:
    colours = palette(60)
    assert len({tuple(colour) for colour in colours.tolist()}) == 61
    np.testing.assert_array_equal(palette(10), colours[:11])


def test_components_become_red_green_and_blue_smoothly_at_the_wanted_size() -> None:
    components = np.random.default_rng(8).random((4, 5, 3), np.float32)
    picture = pca_picture(components, (55, 44))
    assert picture.size == (55, 44)
    # An odd factor has pixels at the centres of the cells.
    centres = np.asarray(picture)[5::11, 5::11].astype(int)
    assert np.abs(centres - components * 255).max() <= 1
    between = np.asarray(picture)[5, 10:12].astype(int).mean(axis=0)
    assert np.abs(between - components[0, :2].mean(axis=0) * 255).max() < 12
    np.testing.assert_array_equal(
        np.asarray(pca_picture(components.transpose(2, 0, 1))), np.asarray(pca_picture(components))
    )


def test_a_grid_is_laid_over_the_picture_where_it_was() -> None:
    """Resized to half, cropped by 10 pixels at the left, padded at the right by 8."""
    geometry = image_pb2.Geometry(
        patch_size=16,
        stride=16,
        resized_height=64,
        resized_width=88,
        pad_right=8,
        grid_height=4,
        grid_width=6,
    )
    geometry.original_height, geometry.original_width = 128, 196
    geometry.crop_left, geometry.uncropped_height, geometry.uncropped_width = 10, 64, 98
    cells = np.zeros((4, 6), np.float32)
    cells[1, 2] = 1
    picture = np.asarray(heat_picture(cells, geometry=geometry))
    assert picture.shape == (128, 196)
    y, x = np.unravel_index(picture.argmax(), picture.shape)
    expected = positions(geometry, [1, 2])
    assert abs(x - expected[0]) <= 1
    assert abs(y - expected[1]) <= 1


def test_features_that_are_no_components_are_refused() -> None:
    with pytest.raises(ValueError, match="ask for features with PCA"):
        pca_picture(np.zeros((4, 5, 384), np.float32))


def test_a_heat_picture_spans_black_to_white_and_takes_flat_maps() -> None:
    shown = np.asarray(heat_picture(np.array([[-3.0, 1.0]], np.float32)))
    assert shown.shape == (224, 448)
    assert (shown[:, 0] == 0).all()
    assert (shown[:, -1] == 255).all()
    assert len(np.unique(shown)) > 100
    assert not np.asarray(heat_picture(np.full((1, 2), 7, np.float32))).any()
    half = np.asarray(heat_picture(np.full((1, 2), 0.5, np.float32), span=(0.0, 1.0)))
    assert set(np.unique(half)) == {128}
    with pytest.raises(ValueError, match="no single map"):
        heat_picture(np.zeros((2, 3, 4), np.float32))
