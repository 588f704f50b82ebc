"""A gateway in this process, with fake engines in real workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest

from featsvc.server.gateway import Gateway, gateway
from featsvc.server.settings import Settings
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
async def start(**settings: object) -> AsyncIterator[Running]:
    """The gateway with one live worker, and a channel to it."""
    values = {"profile": "demo", "grpc_port": 0, "devices": "cpu", **settings}
    async with gateway(Settings(**values), (KEY, "other-key"), engines="tests.server.fakes:build") as running:
        await running.pool.alive_change(0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            yield Running(running, channel)


@pytest.fixture
async def served() -> AsyncIterator[Running]:
    """A gateway with default settings."""
    async with start() as running:
        yield running
