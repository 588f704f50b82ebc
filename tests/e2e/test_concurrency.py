"""32 requests at once: all are answered, each with its own answer."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from featsvc_client import AsyncFeatsvcClient

from tests.e2e.conftest import png
from tests.e2e.transports import Grpc, Transport
from tests.servers import KEY, Server

REQUESTS = 32
OPERATIONS = ("encode_text", "dino_features", "similarity", "prompt_masks")
PARAMS = {
    "encode_text": {"text": "a red circle"},
    "dino_features": {},
    "similarity": {"text": "a star", "load_size": -1},
    "prompt_masks": {"point_coords": [[30, 30]], "point_labels": [1]},
}


def pictures() -> list[bytes]:
    """Small pictures that differ, of two sizes."""
    draw = np.random.default_rng(9)
    sizes = [(64, 80), (56, 56)]
    return [png(draw.integers(0, 256, (*sizes[n % 2], 3), np.uint8)) for n in range(REQUESTS)]


def test_each_of_many_requests_at_once_gets_its_own_answer(transport: Transport) -> None:
    def ask(number: int) -> np.ndarray:
        operation = OPERATIONS[number % len(OPERATIONS)]
        return next(iter(transport.ask(operation, sent[number], PARAMS[operation]).values()))

    sent = pictures()
    with ThreadPoolExecutor(REQUESTS) as threads:
        together = list(threads.map(ask, range(REQUESTS)))
    for number in range(0, REQUESTS, 5):
        alone = ask(number)
        if number % len(OPERATIONS) == OPERATIONS.index("prompt_masks"):
            assert (alone != together[number]).mean() < 1e-3
        else:
            np.testing.assert_allclose(together[number], alone, atol=1e-4)


async def test_the_asyncio_client_asks_many_at_once(demo_server: Server, over_grpc: Grpc) -> None:
    texts = [f"a red circle {number}" for number in range(REQUESTS)]
    async with AsyncFeatsvcClient(demo_server.target, api_key=KEY) as client:
        found = await asyncio.gather(*(client.encode_text(each) for each in texts))
    together = await asyncio.to_thread(over_grpc.client.encode_text, texts)
    np.testing.assert_allclose(np.concatenate([each.array for each in found]), together.array, atol=1e-4)
