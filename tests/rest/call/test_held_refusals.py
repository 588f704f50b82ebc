"""A refusal that the gateway has the shim hold back is told when its time is over, or the port shuts down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
import pytest_asyncio
from starlette.requests import ClientDisconnect

from featsvc.codec import shim_headers
from rest_shim.call.leaving import Departure
from tests.rest.fake_gateway import KEY, FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim

HOUR_MS = "3600000"


class Holding:
    """Looks on while refusals are held back."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.began, self.gone = asyncio.Event(), asyncio.Event()
        own = Departure.held

        async def held(departure: Departure, seconds: float, closing: asyncio.Event) -> None:
            assert seconds == int(HOUR_MS) / 1000
            self.began.set()
            try:
                await own(departure, seconds, closing)
            except ClientDisconnect:
                self.gone.set()
                raise

        patch.setattr(Departure, "held", held)


@pytest_asyncio.fixture
async def refusing() -> AsyncIterator[FakeGateway]:
    """A gateway that has refusals held back for an hour."""
    async with fake_gateway() as gateway:
        metadata = ((shim_headers.HOLD, HOUR_MS), ("retry-after-ms", "7000"))
        full = grpc.StatusCode.RESOURCE_EXHAUSTED
        gateway.fail("ClipService/ExtractFeatures", full, "full", *metadata)
        yield gateway


def asking(ports: Shim) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(ports.post("clip", "/extract", {"image": PICTURE}))


async def test_it_holds_nobody_else_up_and_is_told_when_the_port_shuts_down(
    refusing: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = Holding(monkeypatch)
    async with shim(refusing.target) as ports:
        calling = asking(ports)
        await holding.began.wait()
        other = await ports.post("dino", "/extract", {"image": PICTURE})
        assert other.status_code == 200
        assert not calling.done()
        ports.stop.set()
        answer = await calling
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "7"


async def test_it_ends_with_its_caller(refusing: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    holding = Holding(monkeypatch)
    async with shim(refusing.target) as ports:
        calling = asking(ports)
        await holding.began.wait()
        calling.cancel()
        await holding.gone.wait()


@pytest.mark.parametrize(
    ("method", "port", "path"),
    [
        ("ModelService/GetCaller", "clip", "/extract"),
        ("ModelService/GetStatus", "page", "/state.json"),
        ("ModelService/ListModels", "page", "/state.json"),
        ("ImageService/GetImage", "page", "/picture"),
    ],
)
async def test_one_of_the_key_or_of_the_state_is_held_back_too(method: str, port: str, path: str) -> None:
    async with fake_gateway() as gateway, shim(gateway.target) as ports:
        metadata = ((shim_headers.HOLD, "500"), ("retry-after-ms", "7000"))
        gateway.fail(method, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", *metadata)
        began, ask = time.monotonic(), "GET" if port == "page" else "POST"
        answer = await ports.client.request(
            ask, ports.url(port, path), headers={"Authorization": f"Bearer {KEY}"}
        )
        took_s = time.monotonic() - began
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert took_s >= 0.5
