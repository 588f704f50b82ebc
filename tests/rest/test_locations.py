"""Paths of the gRPC request in the words of the REST body."""

from __future__ import annotations

import pytest

from rest_shim.endpoints import FAMILIES
from rest_shim.locations import location


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("prompts[0].box", ("box",)),
        ("prompts[0].point_coords[3][1]", ("point_coords", 3, 1)),
        ("prompts[0].mask_input", ("mask_input",)),
        ("prompts[0].mask_input.shape", ("mask_input_shape",)),
        ("prompts[0].mask_input.data", ("mask_input",)),
        ("params.model_cfg", ("model_cfg",)),
        ("image", ("image",)),
        ("elsewhere", ("elsewhere",)),
        ("", ()),
    ],
)
def test_a_path_in_the_request_is_a_place_in_the_body(path: str, expected: tuple[str | int, ...]) -> None:
    prompt_mask = FAMILIES["sam2"].endpoints[1]
    assert location(path, prompt_mask.method.input_type) == expected


@pytest.mark.parametrize("wrapped", ["", "request."])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("params.points[3]", ("points", 3)),
        ("params.points[3][1]", ("points", 3, 1)),
        ("image.digest", ("image_digest",)),
        ("image.url", ("image_url",)),
        ("image", ("image",)),
    ],
)
def test_a_path_in_a_call_in_chunks_is_the_same_place(
    path: str, expected: tuple[str | int, ...], wrapped: str
) -> None:
    extract = FAMILIES["clip"].endpoints[0]
    assert location(wrapped + path, extract.method.input_type) == expected
