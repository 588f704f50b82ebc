"""A gateway in this process, with fake engines in real workers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from featsvc.logs import JsonLines
from featsvc.server.calls.call import CallObserver
from featsvc.server.gateway import Gateway, gateway
from featsvc.settings.tree import Settings
from featsvc.v1 import clip_pb2_grpc, dino_pb2_grpc, model_pb2_grpc, sam2_pb2_grpc

KEY = "right-key"
AUTHORISED = (("authorization", f"Bearer {KEY}"),)


@dataclass(frozen=True)
class Running:
    """A gateway and a channel to it."""

    gateway: Gateway
    channel: grpc.aio.Channel

    @property
    def clip(self) -> clip_pb2_grpc.ClipServiceStub:
        return clip_pb2_grpc.ClipServiceStub(self.channel)

    @property
    def dino(self) -> dino_pb2_grpc.DinoServiceStub:
        return dino_pb2_grpc.DinoServiceStub(self.channel)

    @property
    def sam2(self) -> sam2_pb2_grpc.Sam2ServiceStub:
        return sam2_pb2_grpc.Sam2ServiceStub(self.channel)

    @property
    def model(self) -> model_pb2_grpc.ModelServiceStub:
        return model_pb2_grpc.ModelServiceStub(self.channel)


Start = Callable[..., AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def start(**settings: Any) -> AsyncIterator[Running]:
    """The gateway with one live worker, and a channel to it."""
    values: dict[str, Any] = {"profile": "demo", "grpc_port": 0, "devices": "cpu", **settings}
    observers: Sequence[CallObserver] = values.pop("observers", ())
    own_address: str = values.pop("own_address", "")
    keys, engines = (KEY, "other-key"), "tests.server.fakes:build"
    async with gateway(Settings(**values), keys, engines, observers, own_address=own_address) as running:
        await running.pool.alive_change(0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            yield Running(running, channel)


@pytest.fixture
async def served() -> AsyncIterator[Running]:
    """A gateway with default settings."""
    async with start() as running:
        yield running


class Lines(logging.Handler):
    """Lines of log, as they come."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put_nowait(json.loads(JsonLines().format(record)))

    async def get(self) -> dict[str, Any]:
        return await self._lines.get()


@asynccontextmanager
async def heard(*loggers: str) -> AsyncIterator[Lines]:
    """What these loggers say from now on."""
    found = Lines()
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).addHandler(found)
        logging.getLogger(name).setLevel(logging.INFO)
    yield found
    for name, level in levels.items():
        logging.getLogger(name).removeHandler(found)
        logging.getLogger(name).setLevel(level)


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    """What the server logs about calls during the test."""
    async with heard("featsvc.server.calls") as found:
        yield found
