"""Who is let in: the gateway judges every key, before a body is read."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc
import pytest
from google.protobuf.message import Message

from featsvc.v1 import model_pb2
from rest_shim.processes.settings import RunnerSettings
from tests.rest.fake_gateway import KEY, FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
ENDPOINTS = [
    ("clip", "/extract"), ("clip", "/encode_text"), ("clip", "/similarity"), ("clip", "/encode_image"),
    ("dino", "/extract"), ("sam2", "/auto_mask"), ("sam2", "/prompt_mask"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "path"), ENDPOINTS)
@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, "Bearer \u00e9".encode("latin-1")]
)
async def test_a_missing_or_wrong_key_is_401_and_says_nothing_of_the_body(
    ports: Shim, gateway: FakeGateway, family: str, path: str, header: str | bytes
) -> None:
    headers = {"Authorization": header} if header else {}
    response = await ports.client.post(
        ports.url(family, path), json={"image": "?", "nonsense": 1}, headers=headers
    )
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert isinstance(response.json()["detail"], str)
    assert "nonsense" not in response.text
    assert gateway.requests == []


async def test_the_scheme_may_be_written_in_any_case(ports: Shim, gateway: FakeGateway) -> None:
    response = await ports.post("clip", "/encode_text", {"text": "a"}, Authorization=f"bearer  {KEY}")
    assert response.status_code == 200
    assert gateway.metadata[0]["authorization"] == f"Bearer {KEY}"


async def test_a_caller_without_a_key_is_answered_before_it_has_sent_its_body(ports: Shim) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.ports["clip"])
    writer.write(b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n{")
    assert b" 401 " in await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    await writer.wait_closed()


async def test_a_key_is_judged_once_for_all_who_come_with_it_at_once() -> None:
    async with fake_gateway() as fake, shim(fake.target) as ports:
        judged: list[Message] = []

        async def judging(request: Message, context: grpc.aio.ServicerContext) -> Message:
            judged.append(request)
            return fake.replies["ModelService/GetCaller"]

        fake.answers["ModelService/GetCaller"] = judging
        asked = (ports.post("clip", "/encode_text", {"text": "a"}) for _ in range(20))
        assert [each.status_code for each in await asyncio.gather(*asked)] == [200] * 20
        assert len(judged) == 1
        wrong = (ports.post("clip", "/encode_text", {}, Authorization="Bearer wrong") for _ in range(20))
        assert [each.status_code for each in await asyncio.gather(*wrong)] == [401] * 20


async def test_a_key_that_may_not_ask_models_is_403_before_its_body_is_read(
    ports: Shim, gateway: FakeGateway
) -> None:
    gateway.replies["ModelService/GetCaller"] = model_pb2.GetCallerResponse(name="watcher", roles=["status"])
    async with shim(gateway.target) as fresh:
        response = await fresh.post("clip", "/extract", {"nonsense": 1})
    assert response.status_code == 403
    assert response.json() == {"detail": "the key 'watcher' has not the role infer, which this needs"}


async def test_a_shim_tells_the_gateway_for_whom_it_asks(ports: Shim, gateway: FakeGateway) -> None:
    # Anybody can write the header of proxies, and whatever he likes.
    for forged in (b"192.0.2.7", b"\xff", b""):
        response = await ports.post("clip", "/encode_text", {"text": "a"}, **{"X-Forwarded-For": forged})
        assert response.status_code == 200
    assert {each["featsvc-address"] for each in gateway.metadata} == {"127.0.0.1"}


async def test_further_wrong_keys_of_one_address_wait_and_right_ones_do_not() -> None:
    async with (
        fake_gateway() as fake,
        shim(fake.target, max_wrong_keys=2, wrong_key_delay=3600.0) as ports,
    ):
        ask = partial(ports.post, "clip", "/encode_text", {"text": "a"})
        for _ in range(2):
            assert (await ask(Authorization="Bearer wrong")).status_code == 401
        waiting = asyncio.create_task(ask(Authorization="Bearer wrong"))
        for _ in range(3):
            assert (await ask()).status_code == 200
        assert not waiting.done()
        waiting.cancel()


@pytest.mark.parametrize("path", ["/health", "/docs", "/openapi.json"])
@pytest.mark.parametrize("family", ["clip", "dino", "sam2"])
async def test_health_and_documentation_are_open(
    ports: Shim, gateway: FakeGateway, family: str, path: str
) -> None:
    assert (await ports.client.get(ports.url(family, path))).status_code == 200


async def test_the_default_key_is_refused_on_an_open_host_whoever_chose_it() -> None:
    open_host = RunnerSettings(host="0.0.0.0")
    assert open_host.refused_key == "smfeats"
    assert RunnerSettings(host="0.0.0.0", api_key=("mine", "smfeats")).refused_key == "smfeats"
    assert RunnerSettings(host="127.0.0.1").refused_key is None


async def test_a_refused_key_does_not_reach_the_gateway() -> None:
    async with fake_gateway() as fake, shim(fake.target, host="0.0.0.0") as ports:
        response = await ports.post("clip", "/extract", {"image": PICTURE}, Authorization="Bearer smfeats")
        assert response.status_code == 401
        assert "loopback" in response.json()["detail"]
        assert (await ports.post("clip", "/extract", {"image": PICTURE})).status_code == 200


@pytest.mark.parametrize(("origins", "status", "allowed"), [((), 405, None), (("*",), 200, "*")])
async def test_pages_of_other_origins_may_call_where_origins_are_named(
    gateway: FakeGateway, origins: tuple[str, ...], status: int, allowed: str | None
) -> None:
    asked = {
        "Origin": "https://example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with shim(gateway.target, cors_origins=origins) as ports:
        response = await ports.client.options(ports.url("clip", "/extract"), headers=asked)
        assert response.status_code == status
        assert response.headers.get("access-control-allow-origin") == allowed
        health = await ports.client.get(ports.url("clip", "/health"), headers=asked)
        assert health.headers.get("access-control-allow-origin") == allowed


async def test_only_listed_origins_may_call_where_a_list_is_given() -> None:
    async with fake_gateway() as fake, shim(fake.target, cors_origins=("https://good.example",)) as ports:
        for origin, allowed in (
            ("https://good.example", "https://good.example"),
            ("https://bad.example", None),
        ):
            response = await ports.client.get(ports.url("clip", "/health"), headers={"Origin": origin})
            assert response.headers.get("access-control-allow-origin") == allowed
