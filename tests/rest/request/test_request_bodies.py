"""Bodies as callers send them: every way to write base64, and everything that is no body at all."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import orjson
import pytest

from tests.rest.fake_gateway import FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
ODD = bytes(range(250, 256)) * 41 + b"x"
PLAIN = base64.b64encode(ODD).decode()


@pytest.mark.parametrize(
    "written",
    [
        PLAIN,
        base64.encodebytes(ODD).decode(),
        base64.encodebytes(ODD).decode().replace("\n", "\r\n"),
        base64.urlsafe_b64encode(ODD).decode(),
        PLAIN.rstrip("="),
        f"data:image/png;base64,{PLAIN}",
        f"DATA:image/svg+xml;charset=utf-8;BASE64,{PLAIN}",
        f"data:;base64,{PLAIN}",
    ],
    ids=["plain", "lines", "crlf", "urlsafe", "unpadded", "data uri", "upper case", "no type"],
)
async def test_base64_is_read_however_it_is_written(ports: Shim, gateway: FakeGateway, written: str) -> None:
    assert (await ports.post("clip", "/extract", {"image": written})).status_code == 200
    assert gateway.requests[0].image.content == ODD


@pytest.mark.parametrize(
    "written",
    [
        "",
        "====",
        "A",
        "hello world!",
        "äöü",
        "data:image/png,abc",
        "data:image/png;base64,",
        "\x00",
        "🙂" * 8,
    ],
)
async def test_what_is_no_base64_is_a_bad_image_field(
    ports: Shim, gateway: FakeGateway, written: str
) -> None:
    response = await ports.post("clip", "/extract", {"image": written})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "image"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"7", b"\xff\xfe", b'{"image": "\xff"}', b'{"image": NaN}',
        b'{"image": "\\ud800"}', b"[" * 100_000, b'{"a":' * 50_000, b'{"image": {"a": [[[[[1]]]]]}}', b"{}" * 3,
    ],
    ids=lambda content: repr(content[:20]),
)  # fmt: skip
async def test_what_is_no_body_is_422(ports: Shim, gateway: FakeGateway, content: bytes) -> None:
    response = await ports.raw("clip", "/extract", content)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][0] == "body"
    assert gateway.requests == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ";;"]
)
async def test_another_content_type_is_415(ports: Shim, kind: str) -> None:
    response = await ports.raw("clip", "/extract", b'{"image": "aGVs"}', Content_Type=kind)
    assert response.status_code == 415
    assert "application/json" in response.json()["detail"]


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"]
)
async def test_json_by_any_name_is_read(ports: Shim, gateway: FakeGateway, kind: str) -> None:
    response = await ports.raw("clip", "/extract", orjson.dumps({"image": PICTURE}), Content_Type=kind)
    assert response.status_code == 200


async def test_a_body_over_the_limit_is_413(ports: Shim, gateway: FakeGateway) -> None:
    response = await ports.raw("clip", "/extract", b" " * 1_000_001)
    assert response.status_code == 413
    assert "1000000" in response.json()["detail"]


async def test_a_body_of_unknown_length_is_stopped_at_the_limit(ports: Shim, gateway: FakeGateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(101):
            yield b" " * 10_000

    response = await ports.raw("clip", "/extract", chunks())
    assert response.status_code == 413
    assert gateway.requests == []


async def test_a_large_body_below_the_limit_arrives_whole(ports: Shim, gateway: FakeGateway) -> None:
    large = ODD * 2500
    response = await ports.post("clip", "/extract", {"image": base64.b64encode(large).decode()})
    assert response.status_code == 200
    assert gateway.requests[0].image.content == large


async def test_bodies_give_their_room_back() -> None:
    limits = {"max_total_body_bytes": 130_000, "max_request_bytes": 130_000}
    async with fake_gateway() as fake, shim(fake.target, **limits) as ports:
        body = orjson.dumps({"image": base64.b64encode(bytes(90_000)).decode()})
        for _ in range(3):
            assert (await ports.raw("clip", "/extract", body)).status_code == 200
