"""Masks as callers have them, in every form."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featsvc.engines.answers import rle
from featsvc.engines.objects.sources import given_masks
from featsvc.errors import InvalidFields
from featsvc.v1.schema import DType, ObjectSource
from tests.engines.models import OPTIONS

SIZE = (9, 13)
MASKS = np.random.default_rng(2).random((3, *SIZE)) > 0.6


def source(**fields: Any) -> ObjectSource:
    return ObjectSource.model_validate(fields)


def tensor(dtype: DType, array: np.ndarray, data: bytes) -> dict[str, Any]:
    return {"dtype": dtype, "shape": array.shape, "data": data}


def png(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def lengths(mask: np.ndarray) -> dict[str, Any]:
    counts = rle.run_lengths(mask).tolist()
    return {"lengths": {"counts": counts}, "height": mask.shape[0], "width": mask.shape[1]}


def text(mask: np.ndarray) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "coco": rle.compressed(rle.run_lengths(mask), height, width).counts,
        "height": height,
        "width": width,
    }


FORMS = {
    "bits": source(bitmaps=tensor(DType.BITS, MASKS, np.packbits(MASKS, axis=-1).tobytes())),
    "float32": source(bitmaps=tensor(DType.FLOAT32, MASKS, MASKS.astype("<f4").tobytes())),
    "bool": source(bitmaps=tensor(DType.BOOL, MASKS, MASKS.tobytes())),
    "lengths": source(rle=[lengths(mask) for mask in MASKS]),
    "coco": source(rle=[text(mask) for mask in MASKS]),
    "png": source(png=[png(mask) for mask in MASKS]),
    # What is transparent is white; a blue that is nearly black; all is opaque.
    "coloured png": source(
        png=[
            png(np.stack([MASKS[0] * 0 + 200] * 3 + [MASKS[0] * 255], axis=-1).astype(np.uint8)),
            png((MASKS[1][..., None] * [0, 0, 1]).astype(np.uint8)),
            png(
                np.concatenate(
                    [MASKS[2][..., None] * [9, 0, 0], 255 + 0 * MASKS[2][..., None]], axis=-1
                ).astype(np.uint8)
            ),
        ]
    ),
    "png of 16 bits": source(png=[png(mask.astype(np.uint16)) for mask in MASKS]),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_is_the_same_masks(form: str) -> None:
    found = given_masks(FORMS[form], SIZE, OPTIONS).found()
    np.testing.assert_array_equal(found.bitmaps, MASKS)
    assert [rle.area(counts) for counts in found.masks.runs] == [mask.sum() for mask in MASKS]


def test_a_map_of_numbers_has_its_objects_in_their_order() -> None:
    labels = np.zeros(SIZE, np.int64)
    labels[2:4, 3:9], labels[5:, :2], labels[0, 0] = 70_000, 4, -1
    found = given_masks(
        source(label_map=tensor(DType.INT64, labels, labels.tobytes())), SIZE, OPTIONS
    ).found()
    np.testing.assert_array_equal(found.bitmaps, [labels == -1, labels == 4, labels == 70_000])


def test_a_box_is_all_its_pixels_in_the_picture() -> None:
    found = given_masks(source(boxes=[[2, 3, 5, 7], [-4.5, 7.5, 3.2, 100]]), SIZE, OPTIONS).found()
    expected = np.zeros((2, *SIZE), bool)
    expected[0, 3:7, 2:5] = True
    expected[1, 7:9, 0:4] = True
    np.testing.assert_array_equal(found.bitmaps, expected)
    assert found.masks.boxes.tolist() == [[2, 3, 4, 6], [0, 7, 3, 8]]


WRONG = {
    "source.boxes[1]": source(boxes=[[2, 3, 5, 7], [13, 0, 15, 3]]),
    "source.boxes[0]": source(boxes=[[5, 3, 2, 7]]),
    "source.rle[1]": source(rle=[text(MASKS[0]), text(MASKS[0][1:])]),
    "source.rle[0]": source(rle=[{"lengths": {"counts": [3, 4]}, "height": 9, "width": 13}]),
    "source.png[0]": source(png=[png(MASKS[0].T)]),
    "source.png[1]": source(png=[png(MASKS[0]), b"no picture"]),
    "source.bitmaps": source(bitmaps=tensor(DType.BITS, MASKS, b"short")),
    "source.label_map ": source(
        label_map=tensor(DType.FLOAT32, MASKS[0], np.full(SIZE, np.nan, "<f4").tobytes())
    ),
    "source.label_map": source(label_map=tensor(DType.BITS, MASKS[0], b"")),
}


@pytest.mark.parametrize("field", list(WRONG))
def test_what_does_not_fit_the_picture_is_named(field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        given_masks(WRONG[field], SIZE, OPTIONS)
    assert [each.field for each in caught.value.violations] == [field.strip()]


@pytest.mark.parametrize("form", ["boxes", "label_map"])
def test_too_many_are_refused_with_the_setting(form: str) -> None:
    many = OPTIONS.max_objects + 1
    side = math.isqrt(many) + 1
    labels = np.arange(side * side).reshape(side, side)
    sources = {
        "boxes": ObjectSource.model_construct(**{**dict(ObjectSource()), "boxes": ((0, 0, 1, 1),) * many}),
        "label_map": source(label_map=tensor(DType.INT64, labels, labels.tobytes())),
    }
    with pytest.raises(InvalidFields, match="at most 1024 \\(--max-objects\\)"):
        given_masks(sources[form], (side, side), OPTIONS)


def test_masks_of_too_many_runs_are_refused_before_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featsvc.engines.objects.overlaps.MOST_RUNS", 100)
    noise = np.indices(SIZE).sum(axis=0) % 2 == 1
    given_masks(source(png=[png(MASKS[0])]), SIZE, OPTIONS).found()
    with pytest.raises(InvalidFields, match=r"over 100 runs of pixels together.*fewer at once") as caught:
        given_masks(source(png=[png(noise)]), SIZE, OPTIONS).found()
    assert [each.field for each in caught.value.violations] == ["source"]
