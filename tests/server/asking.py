"""Requests to the fake engines, and what tests look at in refusals."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from featsvc.server.calls.deadlines import Deadlines
from featsvc.server.calls.read_ahead import ReadAhead
from featsvc.v1 import clip_pb2, image_pb2, model_pb2, schema
from featsvc.work.caller import Caller
from tests.parts import parts
from tests.server.conftest import Running

Request = clip_pb2.ClipServiceExtractFeaturesRequest
DEADLINES = Deadlines(request_timeout_s=60.0, max_request_timeout_s=600.0)
OTHER_KEY = (("authorization", "Bearer other-key"),)


def asking(program: bytes, **params: Any) -> clip_pb2.ClipServiceExtractFeaturesRequest:
    # Any: fields as protobuf's constructors take them.
    held: dict[str, Any] = parts(schema.ClipExtractFeaturesParams, params)
    return Request(image=image_pb2.Image(content=program), **held)


def digest_of(program: bytes) -> str:
    return f"sha256:{hashlib.sha256(program).hexdigest()}"


def again(program: bytes) -> image_pb2.Image:
    """The picture by its digest."""
    return image_pb2.Image(digest=digest_of(program))


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    bad = error_details_pb2.BadRequest()
    status_pb2.Status.FromString(details).details[0].Unpack(bad)
    return {each.field: each.description for each in bad.field_violations}


async def refusal(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def read_ahead(
    check_room: Callable[[Caller, int, int], None] = lambda *_: None, deadlines: Deadlines = DEADLINES
) -> ReadAhead:
    """Reads 48 MiB of each caller ahead; by default there is room for all."""
    return ReadAhead(check_room, lambda: 48 * 1024**2, deadlines)


def gate_at(path: Path) -> str:
    """A gate of tests.pool.fakes.wait_at."""
    os.mkfifo(f"{path}.arrived")
    os.mkfifo(f"{path}.passes")
    return str(path)


async def arrived(gate: str, count: int = 1) -> None:
    def read() -> None:
        with open(f"{gate}.arrived", "rb", buffering=0) as pipe:
            seen = 0
            while seen < count:
                seen += len(pipe.read(1))

    await asyncio.to_thread(read)


async def until_waiting(served: Running, count: int) -> None:
    """Returns when so many questions are in the queue."""
    while served.gateway.pool.status().queued_count < count:
        await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=OTHER_KEY)


async def opened(gate: str) -> None:
    def write() -> None:
        with open(f"{gate}.passes", "wb", buffering=0) as pipe:
            pipe.write(b"..")

    await asyncio.to_thread(write)
