"""What clients of the REST document send, to the real server: nulls everywhere, and options of a neighbour."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from featsvc_client import dino_client, errors

from rest_shim.app.endpoints import FAMILIES
from tests.servers import KEY, Server

# What makes a question small, or is needed to ask it.
SMALL: dict[str, dict[str, object]] = {
    "clip/extract": {"load_size": 64},
    "clip/similarity": {"load_size": 64, "text": "a red circle"},
    "clip/encode_text": {"text": "a red circle"},
    "clip/encode_image": {},
    "dino/extract": {"load_size": 56},
    "sam2/auto_mask": {"preset": "coarse"},
    "sam2/prompt_mask": {"point_coords": [[40, 45]], "point_labels": [1]},
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=120, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False) as connected:
        yield connected


@pytest.mark.parametrize("name", SMALL)
def test_null_in_every_field_that_may_be_left_out_is_the_answer_without_them(
    client: httpx.Client, demo_server: Server, picture: bytes, name: str
) -> None:
    family, _, path = name.partition("/")
    (endpoint,) = (each for each in FAMILIES[family].endpoints if each.path == f"/{path}")
    fields = endpoint.body.model_fields
    least = SMALL[name] | ({"image": base64.b64encode(picture).decode()} if "image" in fields else {})
    # In softmax null means something else than nothing.
    nulls = {name: None for name in fields if name != "softmax"}
    url = demo_server.url(family) + endpoint.path
    plain, full = client.post(url, json=least), client.post(url, json={**nulls, **least})
    assert (plain.status_code, full.status_code) == (200, 200), full.text
    assert full.json() == plain.json()


def test_a_similarity_map_may_be_asked_for_with_the_options_of_features(
    client: httpx.Client, demo_server: Server, picture: bytes
) -> None:
    asked = SMALL["clip/similarity"] | {"image": base64.b64encode(picture).decode()}
    also = {"pca_niter": 5, "pca_q_min": 0.01, "pca_q_max": 0.99, "tensor_format": "CHW"}
    url = demo_server.url("clip") + "/similarity"
    assert client.post(url, json=asked | also).json() == client.post(url, json=asked).json()


def test_who_asks_the_wrong_port_for_features_notices(demo_server: Server, picture: bytes) -> None:
    where: dict[str, Any] = {"base_url": demo_server.url("clip"), "api_key": KEY}
    for function in (dino_client.extract_dino_features, dino_client.extract_dino_features_decoded):
        with pytest.raises(errors.InvalidRequest, match="is ClipService and not DinoService"):
            function(picture, load_size=64, **where)


@pytest.mark.parametrize("name", SMALL)
def test_the_example_of_the_open_api_document_is_answered(
    client: httpx.Client, demo_server: Server, name: str
) -> None:
    family, _, path = name.partition("/")
    document = client.get(demo_server.url(family) + "/openapi.json").json()
    content = document["paths"][f"/{path}"]["post"]["requestBody"]["content"]["application/json"]
    (body,) = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]["examples"]
    response = client.post(f"{demo_server.url(family)}/{path}", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["x-featsvc-model"] == f"demo-{family}"
    assert len(response.content) < 100_000
