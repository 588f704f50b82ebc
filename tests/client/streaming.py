"""Both gRPC clients asking over one stream, and a server that tells what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import numpy as np
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient

from featsvc.codec.arrays import to_tensor
from featsvc.v1 import clip_pb2
from tests.client.gateway import Refusal

Streamed = Callable[..., list[tuple[Any, Any]]]
UNAVAILABLE = Refusal(grpc.StatusCode.UNAVAILABLE, "restarting")


def blocking(target: str, method: str, *args: Any, client: dict[str, Any], **named: Any) -> list[Any]:
    with FeatsvcClient(target, **client) as connected:
        return list(getattr(connected, method)(*args, **named))


def awaiting(target: str, method: str, images: Any, *args: Any, client: dict[str, Any], **named: Any) -> Any:
    async def each() -> AsyncIterator[Any]:
        # In a thread, because the source of a test may wait for the server.
        iterator, end = iter(images), object()
        while (image := await asyncio.to_thread(next, iterator, end)) is not end:
            yield image

    async def call() -> list[Any]:
        async with AsyncFeatsvcClient(target, **client) as connected:
            return [found async for found in getattr(connected, method)(each(), *args, **named)]

    return asyncio.run(call())


def picture(number: int) -> bytes:
    return bytes([number]) * 30


def echo(request: clip_pb2.ClipServiceExtractFeaturesRequest) -> clip_pb2.ClipServiceExtractFeaturesResponse:
    """Features that tell the picture."""
    told = np.full((1, 1, 2), request.image.content[0], np.float32)
    return clip_pb2.ClipServiceExtractFeaturesResponse(features=to_tensor(told))


def told(found: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    return {name: type(each) if isinstance(each, Exception) else each.array[0, 0, 0] for name, each in found}
