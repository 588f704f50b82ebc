"""A client that turns one large reply after the other into an array, each wire in its usual way."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import grpc
import numpy as np
from numpy.typing import NDArray

from featsvc.v1 import clip_pb2
from tests.bench.children import answer_commands
from tests.bench.fixed import features
from tests.bench.http_wire import post_blocking
from tests.bench.questions import QUESTIONS, grpc_bytes, json_bytes
from tests.servers import KEY

ARGS = {"model": "demo-clip"}
UNLIMITED = (("grpc.max_receive_message_length", -1),)
METADATA = (("authorization", f"Bearer {KEY}"),)
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
Floats = NDArray[np.float32]


def timed(fetch: Callable[[], Floats], count: int) -> dict[str, list[float]]:
    """Milliseconds from asking to the array; the first time is not counted, and its array is checked."""
    if not np.array_equal(fetch(), features()):
        raise ValueError("this is not what was asked for")
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        fetch()
        taken.append(1000 * (time.perf_counter() - began))
    return {"latencies": taken}


def plain(url: str, count: int) -> dict[str, list[float]]:
    """Base64 in JSON, read by the standard library as most clients do."""
    body = json_bytes("dense", 0, ARGS)

    def fetch() -> Floats:
        reply = json.loads(post_blocking(f"{url}/extract", body, HEADERS))
        return np.frombuffer(base64.b64decode(reply["features"]), np.float32).reshape(reply["shape"])

    return timed(fetch, count)


def octets(url: str, count: int) -> dict[str, list[float]]:
    """Raw bytes over REST."""
    body = json_bytes("dense", 0, ARGS)
    headers = {**HEADERS, "Accept": "application/octet-stream"}

    def fetch() -> Floats:
        return np.frombuffer(post_blocking(f"{url}/extract", body, headers), np.float32).reshape(
            features().shape
        )

    return timed(fetch, count)


def unary(target: str, count: int) -> dict[str, list[float]]:
    """One gRPC message."""
    request = grpc_bytes("dense", 0, ARGS)
    with grpc.insecure_channel(target, UNLIMITED) as channel:
        call = channel.unary_unary(QUESTIONS["dense"].method)

        def fetch() -> Floats:
            raw = call(request, metadata=METADATA)
            reply = clip_pb2.ClipServiceExtractFeaturesResponse.FromString(raw)
            return np.frombuffer(reply.features.data, np.float32).reshape(tuple(reply.features.shape))

        return timed(fetch, count)


def chunked(target: str, count: int) -> dict[str, list[float]]:
    """Pieces of 1 MiB, each copied to its place in one array."""
    request = grpc_bytes("chunked", 0, ARGS)
    read = clip_pb2.ClipServiceExtractFeaturesChunkedResponse.FromString
    with grpc.insecure_channel(target, UNLIMITED) as channel:
        call = channel.unary_stream(QUESTIONS["chunked"].method, response_deserializer=read)

        def fetch() -> Floats:
            parts = call(request, metadata=METADATA)
            array = np.empty(tuple(next(parts).reply.features.shape), np.float32)
            view = memoryview(array).cast("B")
            for part in parts:
                piece = part.chunk.data
                view[part.chunk.offset : part.chunk.offset + len(piece)] = piece
            return array

        return timed(fetch, count)


if __name__ == "__main__":
    print('{"event": "ready"}', flush=True)
    answer_commands({"plain": plain, "octets": octets, "unary": unary, "chunked": chunked})
