"""JSON null is as good as leaving a field out: many libraries write every field of an object."""

from __future__ import annotations

import pytest

from featsvc.fields.base import NullMeans
from rest_shim.app.endpoints import FAMILIES, Endpoint
from tests.rest.fake_gateway import FakeGateway
from tests.rest.shim import PICTURE, Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
TEXT = "text"
"""Needed wherever there is one, though vectors may take its place."""
ENDPOINTS = [
    pytest.param(family.name, endpoint, id=f"{family.name}{endpoint.path}")
    for family in FAMILIES.values()
    for endpoint in family.endpoints
]
OPTIONS = [
    pytest.param(family.name, endpoint, name, id=f"{family.name}{endpoint.path}-{name}")
    for family in FAMILIES.values()
    for endpoint in family.endpoints
    for name, field in endpoint.body.model_fields.items()
    if not field.is_required() and name != TEXT
]


def needed(endpoint: Endpoint) -> dict[str, object]:
    """The least that an endpoint must be given."""
    fields = endpoint.body.model_fields
    required: dict[str, object] = {
        name: "a" for name, field in fields.items() if field.is_required() or name == TEXT
    }
    return required | ({"image": PICTURE} if "image" in fields else {})


def meant(endpoint: Endpoint, name: str) -> bool:
    """Whether null has a meaning of its own there."""
    return any(isinstance(each, NullMeans) for each in endpoint.body.model_fields[name].metadata)


@pytest.mark.parametrize(("family", "endpoint"), ENDPOINTS)
async def test_a_body_of_nulls_asks_what_a_body_without_them_asks(
    ports: Shim, gateway: FakeGateway, family: str, endpoint: Endpoint
) -> None:
    least = needed(endpoint)
    nulls = {name: None for name in endpoint.body.model_fields if not meant(endpoint, name)}
    plain = await ports.post(family, endpoint.path, least)
    every = await ports.post(family, endpoint.path, {**nulls, **least})
    assert (plain.status_code, every.status_code) == (200, 200), every.text
    assert every.content == plain.content
    assert gateway.requests[0] == gateway.requests[1]


@pytest.mark.parametrize(("family", "endpoint", "name"), OPTIONS)
async def test_any_optional_field_may_be_null(
    ports: Shim, gateway: FakeGateway, family: str, endpoint: Endpoint, name: str
) -> None:
    await ports.post(family, endpoint.path, needed(endpoint))
    given = needed(endpoint) | ({"image_url": "https://example.com/a.png"} if name == "image" else {})
    response = await ports.post(family, endpoint.path, {**given, name: None})
    assert response.status_code == 200, response.text
    plain, with_null = gateway.requests
    if not meant(endpoint, name) and name != "image":
        assert with_null == plain


async def test_null_keeps_its_meaning_where_it_has_one(ports: Shim, gateway: FakeGateway) -> None:
    for family, path, more in (
        ("clip", "/extract", {}),
        ("dino", "/extract", {}),
        ("clip", "/similarity", {"text": "a"}),
    ):
        await ports.post(family, path, {"image": PICTURE, "load_size": None, **more})
        asked = gateway.requests[-1]
        assert asked.params.load_size == -1
    await ports.post("clip", "/similarity", {"image": PICTURE, "text": "a", "softmax": None})
    assert gateway.requests[-1].similarity.softmax == 0
    assert gateway.requests[-1].similarity.HasField("softmax")


async def test_what_sam2_itself_demands_beside_grids_of_points_is_taken(
    ports: Shim, gateway: FakeGateway
) -> None:
    grids = {"points_per_side": None, "point_grids": [[[0.25, 0.5]]]}
    assert (await ports.post("sam2", "/auto_mask", {"image": PICTURE, **grids})).status_code == 200
    assert not gateway.requests[0].params.HasField("points_per_side")
    assert len(gateway.requests[0].params.point_grids) == 1


@pytest.mark.parametrize(
    ("body", "place"),
    [({"text": None}, "text"), ({"text": "a", "txet": None}, "txet"), ({"text": [None]}, "text")],
)
async def test_null_is_no_text_and_no_excuse_for_a_wrong_name(
    ports: Shim, gateway: FakeGateway, body: dict[str, object], place: str
) -> None:
    response = await ports.post("clip", "/encode_text", body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][:2] == ["body", place]
