"""What a terminal shows of an answer: a line, whatever the number of its elements."""

from __future__ import annotations

import numpy as np
from featsvc_client import Embeddings, Features, Mask, Masks, MasksSummary, PromptMasks, Rle, Similarity
from featsvc_client.pixels import Bitmap, Label, Png
from featsvc_client.results import Rounding

from featsvc.codec.arrays import to_bits
from tests.client.samples import GEOMETRY

DIGEST = "sha256:" + 64 * "a"
LARGE = np.zeros((1000, 1000, 128), np.float32)
MASK = Mask(
    Bitmap(to_bits(np.ones((480, 640), bool))),
    307_200,
    (0.0, 0.0, 639.0, 479.0),
    0.98765432,
    np.array([[3.5, 4.0]]),
    0.9,
    (0.0, 0.0, 640.0, 480.0),
)


def test_arrays_are_shown_by_type_and_shape() -> None:
    shown = repr(Features(LARGE, False, GEOMETRY, "demo-dino", DIGEST, Rounding(0.1, 0.01, LARGE[0])))
    assert shown.startswith("Features(raw=float32[1000, 1000, 128], is_pca=False, geometry=Geometry(")
    assert "model='demo-dino'" in shown
    assert "mean_error=0.01, scale=float32[1000, 128]" in shown
    assert len(shown) < 350
    assert (
        repr(Embeddings(LARGE[0], "m"))
        == "Embeddings(array=float32[1000, 128], model='m', image_orientation=0)"
    )
    assert "array=float32[1000, 1000]" in repr(Similarity(LARGE[..., 0], GEOMETRY, "m"))


def test_a_mask_is_a_line_with_its_size_area_and_score() -> None:
    assert repr(MASK) == (
        "Mask(pixels=Bitmap(tensor=bits[480, 640]), area=307200, bbox=(0, 0, 639, 479), predicted_iou=0.9877, "
        "point_coords=[[3.5, 4. ]], stability_score=0.9, crop_box=(0, 0, 640, 480))"
    )


def test_pixels_of_every_form_are_brief() -> None:
    forms = (Png(b"x" * 9999), Rle("x" * 9999, (480, 640)), Rle(tuple(range(9999)), (480, 640)))
    for each in (*forms, Label(np.zeros((480, 640), np.uint16), 3)):
        assert len(repr(each)) < 80, repr(each)


def test_many_masks_are_a_few_lines() -> None:
    summary = MasksSummary(500, 480, 640, "demo-sam2", DIGEST, np.zeros((480, 640), np.uint16))
    lines = repr(Masks([MASK] * 500, summary)).splitlines()
    assert lines[0].startswith("Masks: 500, MasksSummary(count=500, height=480, width=640, model='demo-sam2'")
    assert lines[-1].strip() == "… 497 more"
    assert len(lines) == 5
    assert repr(Masks([MASK], summary)).splitlines()[1:] == [f"  {MASK!r}"]


def test_masks_of_a_prompt_are_a_line() -> None:
    logits = np.zeros((3, 256, 256), np.float32)
    scores = np.array([0.91, 0.5, 0.25], np.float32)
    found = PromptMasks(to_bits(np.ones((3, 3000, 4000), bool)), scores, logits, "demo-sam2", DIGEST)
    shown = repr(found)
    assert (
        "pixels=bits[3, 3000, 4000], iou_predictions=[0.91, 0.5 , 0.25], low_res_masks=float32[3, 256, 256]"
        in shown
    )
    assert len(shown) < 300
    runs = PromptMasks((Rle("x" * 9999, (9, 9)),) * 9, scores, logits, "demo-sam2")
    assert "pixels=9 items" in repr(runs)
