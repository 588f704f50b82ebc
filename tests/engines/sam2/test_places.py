"""Points lie in the picture, and boxes reach beyond it by half its size at most."""

from __future__ import annotations

import numpy as np
import pytest

from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from featsvc.errors import InvalidFields
from featsvc.fields.base import MOST_TOLD
from featsvc.v1.schema import PredictMasksParams, Prompt
from featsvc.work.results import PromptMasks
from tests.engines.sam2.test_prompts import HEIGHT, POINTS, WIDTH, ask, expect


def answered_at(
    engines: Engines, model: Sam2Model, in_pixels: bool = True, **given: object
) -> tuple[PromptMasks, ...]:
    return ask(engines, model, (Prompt(**given),), PredictMasksParams(normalize_coords=in_pixels))


@pytest.mark.parametrize("corner", [(0, 0), (WIDTH, HEIGHT), (0, HEIGHT), (WIDTH, 0)])
def test_points_on_the_edges_of_the_picture_are_in_it(
    engines: Engines, small_sam2: Sam2Model, corner: tuple[float, float]
) -> None:
    parts = (corner[0] / WIDTH, corner[1] / HEIGHT)
    (in_pixels,) = answered_at(engines, small_sam2, point_coords=(corner,), point_labels=(1,))
    (in_parts,) = answered_at(engines, small_sam2, False, point_coords=(parts,), point_labels=(1,))
    np.testing.assert_array_equal(in_pixels.low_res_masks, in_parts.low_res_masks)


@pytest.mark.parametrize(
    "point", [(WIDTH + 0.00001, 3), (3, HEIGHT + 0.5), (-0.5, 3), (3, -0.5), (5000, 4000)]
)
def test_a_point_outside_the_picture_is_refused_with_its_size(
    engines: Engines, small_sam2: Sam2Model, point: tuple[float, float]
) -> None:
    """SAM2 would answer it, with a high predicted quality."""
    with pytest.raises(InvalidFields) as caught:
        answered_at(engines, small_sam2, point_coords=(POINTS[0], point), point_labels=(1, 1))
    (violation,) = caught.value.violations
    assert violation.field == "prompts[0].point_coords[1]"
    assert violation.message.startswith(
        f"({point[0]}, {point[1]}) is outside the picture of {WIDTH} x {HEIGHT} pixels"
    )
    parts = (point[0] / WIDTH, point[1] / HEIGHT)
    with pytest.raises(InvalidFields, match=r"at most \(1, 1\)"):
        answered_at(engines, small_sam2, False, point_coords=(parts,), point_labels=(1,))


HALF = (-WIDTH / 2, -HEIGHT / 2, 1.5 * WIDTH, 1.5 * HEIGHT)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((WIDTH + 0.00001, 0, WIDTH + 9, 9), rf"\[{WIDTH + 0.00001}, 0, {WIDTH + 9}, 9\] is beside"),
        ((0, HEIGHT, 9, HEIGHT + 9), "is beside"),
        ((-9, 2, 0, 9), "is beside"),
        ((2, -9, 9, 0), "is beside"),
        *(
            ((*HALF[:moved], HALF[moved] + (2 if moved > 1 else -2), *HALF[moved + 1 :]), "far beyond")
            for moved in range(4)
        ),
    ],
)
def test_a_box_far_from_the_picture_is_refused_with_its_size(
    engines: Engines, small_sam2: Sam2Model, box: tuple[float, ...], words: str
) -> None:
    with pytest.raises(InvalidFields, match=words) as caught:
        answered_at(engines, small_sam2, box=box)
    assert [each.field for each in caught.value.violations] == ["prompts[0].box"]
    assert f"the picture of {WIDTH} x {HEIGHT} pixels" in caught.value.message


@pytest.mark.parametrize("box", [HALF, (0, 0, WIDTH, HEIGHT), (WIDTH - 1, HEIGHT - 1, WIDTH + 9, HEIGHT + 9)])
def test_a_box_may_reach_beyond_the_picture_as_that_of_the_document_does(
    engines: Engines, small_sam2: Sam2Model, box: tuple[float, ...]
) -> None:
    (got,) = answered_at(engines, small_sam2, box=box)
    _, _, low = expect(small_sam2, {}, box=np.array(box))
    np.testing.assert_allclose(got.low_res_masks, low, atol=1e-5)


def test_of_many_points_outside_the_first_are_told(engines: Engines, small_sam2: Sam2Model) -> None:
    far = Prompt(point_coords=((900, 900),) * 500, point_labels=(1,) * 500)
    with pytest.raises(InvalidFields) as caught:
        ask(engines, small_sam2, (Prompt(), far), PredictMasksParams())
    assert [each.field for each in caught.value.violations] == [
        f"prompts[1].point_coords[{index}]" for index in range(MOST_TOLD)
    ]
