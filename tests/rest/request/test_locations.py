"""Paths of the gRPC request in the words of the REST body."""

from __future__ import annotations

import orjson
import pytest

from featsvc.errors import FieldViolation
from rest_shim.app.endpoints import FAMILIES
from rest_shim.app.question import question
from rest_shim.request.accept import Form
from rest_shim.request.locations import invalid_request, location


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("prompts[0].box", ("box",)),
        ("prompts[0].point_coords[3][1]", ("point_coords", 3, 1)),
        ("prompts[0].mask_input", ("mask_input",)),
        ("prompts[0].mask_input.shape", ("mask_input_shape",)),
        ("prompts[0].mask_input.data", ("mask_input",)),
        ("model.model_cfg", ("model_cfg",)),
        ("masks.mask_encoding", ("mask_encoding",)),
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
        ("features.points[3]", ("points", 3)),
        ("features.points[3][1]", ("points", 3, 1)),
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


@pytest.mark.parametrize("source", ["image", "image_url", "image_digest"])
def test_a_picture_that_cannot_be_read_is_blamed_by_the_name_it_was_given_under(source: str) -> None:
    (endpoint,) = (each for each in FAMILIES["dino"].endpoints if each.path == "/extract")
    given = {"image": "aGVs", "image_url": "https://example.com/a.png", "image_digest": "sha256:" + "0" * 64}
    _, wish = question(endpoint, bytearray(orjson.dumps({source: given[source]})), Form.JSON)
    refusal = invalid_request(
        [FieldViolation("image", "is no picture")], endpoint.method.input_type, wish.picture
    )
    assert refusal.detail == [{"loc": ["body", source], "msg": "is no picture", "type": "invalid"}]
