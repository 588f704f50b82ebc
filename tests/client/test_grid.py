"""Cells of a grid and positions on the picture."""

from __future__ import annotations

import numpy as np
import pytest
from featsvc_client import grid

from featsvc.v1 import image_pb2

PLAIN = image_pb2.Geometry(
    patch_size=16,
    stride=16,
    resized_height=32,
    resized_width=48,
    original_height=32,
    original_width=48,
    grid_height=2,
    grid_width=3,
    uncropped_height=32,
    uncropped_width=48,
)
CROPPED = image_pb2.Geometry(
    patch_size=14,
    stride=7,
    resized_height=56,
    resized_width=56,
    original_height=112,
    original_width=256,
    grid_height=7,
    grid_width=7,
    uncropped_height=56,
    uncropped_width=128,
    crop_left=36,
    first_row=1,
    first_column=2,
)


def test_the_centre_of_a_cell_is_between_its_middle_pixels() -> None:
    found = grid.positions(PLAIN, [[0, 0], [1, 2]])
    assert found.tolist() == [[7.5, 7.5], [39.5, 23.5]]


def test_resizing_cropping_and_the_first_cell_of_a_window_are_taken_into_account() -> None:
    # (2 + 3) * 7 + 7 = 42 of what the network sees, 36 right of that of the resized, half the size of the original.
    assert grid.positions(CROPPED, [4, 3]).tolist() == [(42 + 36) * 2 - 0.5, ((1 + 4) * 7 + 7) * 2 - 0.5]


@pytest.mark.parametrize("geometry", [PLAIN, CROPPED])
def test_cells_and_positions_are_each_others_inverse(geometry: image_pb2.Geometry) -> None:
    all_cells = np.stack(np.mgrid[:5, :4], axis=-1)
    there = grid.positions(geometry, all_cells)
    assert there.shape == (5, 4, 2)
    np.testing.assert_allclose(grid.cells(geometry, there), all_cells, atol=1e-9)


def test_a_server_that_names_no_uncropped_size_did_not_crop() -> None:
    old = image_pb2.Geometry()
    old.CopyFrom(PLAIN)
    old.ClearField("uncropped_height")
    old.ClearField("uncropped_width")
    assert grid.positions(old, [0, 1]).tolist() == [23.5, 7.5]
