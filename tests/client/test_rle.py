"""Run-length masks against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from featsvc_client.errors import ServerError
from featsvc_client.rle import Rle, from_coco, from_mask
from pycocotools import mask as coco

from tests.client.runs import run_lengths


def masks() -> list[np.ndarray]:
    draw = np.random.default_rng(7)
    smooth = np.add.outer(np.sin(np.arange(301) / 40), np.cos(np.arange(203) / 25)) > 0.3
    return [
        *(
            draw.random((height, width)) < chance
            for height, width, chance in ((5, 4, 0.5), (64, 33, 0.1), (1, 9, 0.9))
        ),
        np.zeros((6, 7), bool),
        np.ones((6, 7), bool),
        np.ones((1, 1), bool),
        smooth,
        np.zeros((3000, 2000), bool),
    ]


@pytest.mark.parametrize("index", range(len(masks())))
def test_compressed_runs_become_the_mask_that_pycocotools_packed(index: int) -> None:
    mask = masks()[index]
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    for counts in (packed["counts"], packed["counts"].decode()):
        decoded = from_coco({"size": packed["size"], "counts": counts}).decoded()
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)


@pytest.mark.parametrize("index", range(len(masks())))
def test_uncompressed_runs_become_the_mask(index: int) -> None:
    mask = masks()[index]
    counts = run_lengths(mask)
    assert from_mask(mask) == Rle(tuple(counts), mask.shape)
    np.testing.assert_array_equal(from_coco({"size": list(mask.shape), "counts": counts}).decoded(), mask)


def test_an_rle_goes_back_to_pycocotools() -> None:
    packed = coco.encode(np.asfortranarray(masks()[-2], np.uint8))
    back = from_coco(packed).coco()
    assert coco.area({"size": back["size"], "counts": back["counts"].encode()}) == masks()[-2].sum()


def test_runs_that_do_not_fill_the_mask_are_refused() -> None:
    for counts in ((3, 2), (-1, 7), "31"):
        with pytest.raises(ServerError, match="do not fill a mask of 2 x 3"):
            Rle(counts, (2, 3)).decoded()


def test_runs_that_are_cut_off_are_refused() -> None:
    with pytest.raises(ServerError, match="cut off"):
        Rle("P", (2, 3)).decoded()


def test_an_object_of_another_form_is_refused() -> None:
    with pytest.raises(TypeError, match="`counts`"):
        from_coco({"counts": 3, "size": [2, 2]})


@pytest.mark.parametrize("index", range(len(masks())))
def test_the_box_of_runs_is_that_of_pycocotools(index: int) -> None:
    mask = masks()[index]
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    expected = coco.toBbox(packed).tolist()
    assert list(Rle(tuple(run_lengths(mask)), mask.shape).rectangle()) == expected
    assert list(from_coco(packed).rectangle()) == expected


def test_the_box_of_any_mask_is_that_of_pycocotools() -> None:
    rng = np.random.default_rng(2)
    for _ in range(400):
        mask = np.zeros(rng.integers(1, 12, 2), bool)
        y, x = (rng.integers(0, side + 1, 2) for side in mask.shape)
        mask[min(y) : max(y), min(x) : max(x)] = True
        mask &= rng.random(mask.shape) < rng.choice([0.3, 1])
        expected = coco.toBbox(coco.encode(np.asfortranarray(mask.astype(np.uint8))))
        assert list(Rle(tuple(run_lengths(mask)), mask.shape).rectangle()) == expected.tolist()
