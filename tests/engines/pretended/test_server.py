"""A whole server whose workers have a GPU each, which are pretended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from featsvc_client import OutOfMemory
from featsvc_client.aio import AsyncFeatsvcClient

from featsvc.catalog.choice import DEMO
from featsvc.engines.registry import Engines
from featsvc.server.gateway import gateway
from featsvc.settings.tree import Settings
from featsvc.v1 import model_pb2
from featsvc.v1 import schema as S
from featsvc.work.item import PictureItem
from featsvc.work.results import Features
from tests.engines import models
from tests.engines.pretended.cases import Case, answers, asked
from tests.engines.pretended.engines import CAPACITY, MEMORY
from tests.engines.pretended.worker import DEVICE, PretendedWorker

KEY = "a-key"
PICTURES = [models.encoded(models.picture(75, 50, each)) for each in range(12)]
CLICK: dict[str, Any] = {"point_coords": [(40, 30)], "point_labels": [1]}
SMALL, LARGE = 224, 896
"""What pictures are resized to: a pass of a few, and one that no card here has room for."""


@asynccontextmanager
async def served(devices: str, **settings: Any) -> AsyncIterator[AsyncFeatsvcClient]:
    """A client of a server with a worker for each of the devices."""
    values = {"profile": "demo", "grpc_port": 0, "precision": "fp32", "offline": True, **settings}
    engines = "tests.engines.pretended.engines:build"
    async with gateway(Settings(devices=devices, **values), (KEY,), engines=engines) as running:
        for alive in range(devices.count(",") + 1):
            await running.pool.alive_change(alive)
        async with AsyncFeatsvcClient(f"127.0.0.1:{running.port}", api_key=KEY) as client:
            yield client


def cache(worker: model_pb2.Worker, name: str) -> model_pb2.Cache:
    """What a worker told of a cache."""
    return next(each for each in worker.caches if each.name == name)


async def only_worker(client: AsyncFeatsvcClient) -> model_pb2.Worker:
    """What the one worker told last."""
    (worker,) = (await client.status()).workers
    return worker


@pytest.mark.slow
async def test_workers_on_two_gpus_answer_as_one_on_the_cpu(engines: Engines) -> None:
    async with served("cuda:0,cuda:1", preload=tuple(DEMO.values())) as client:
        features = await asyncio.gather(*(client.dino_features(each) for each in PICTURES))
        texts = await client.encode_text(["a red circle", "a blue star"])
        (first,) = await client.predict_masks(PICTURES[0], **CLICK)
        (again,) = await client.predict_masks(PICTURES[0], **CLICK)
        status = await client.status()
    case = Case(S.DinoExtractFeaturesParams(), tuple(map(PictureItem, PICTURES)))
    for ours, theirs in zip(features, answers(engines, case, engines.load("demo-dino")), strict=True):
        assert isinstance(theirs, Features)
        np.testing.assert_allclose(ours.array, theirs.features, atol=1e-4)
    assert texts.array.shape == (2, 128)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert {each.device for each in status.workers if each.items} == {"cuda:0", "cuda:1"}
    assert not any(each.restarts for each in status.workers)
    embeddings = [cache(each, "sam2_embeddings") for each in status.workers]
    assert sorted((each.entries, each.misses, each.hits) for each in embeddings) == [(0, 0, 0), (1, 1, 1)]


@pytest.mark.slow
async def test_a_card_learns_what_a_batch_may_have_and_a_question_that_fails_leaves_nothing_behind(
    small: PretendedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = small.cuda.live[DEVICE]
    small.answers(asked(S.DinoExtractFeaturesParams(load_size=SMALL), pictures=4))
    has_room_for_four = (small.cuda.peak[DEVICE] - held) * 3 // 2
    monkeypatch.setenv(CAPACITY, str(small.loaded["dino"].nbytes + has_room_for_four))

    async with served("cuda:1", preload=("demo-dino",), max_batch=8) as client:

        async def batch_sizes() -> set[int]:
            found = await asyncio.gather(
                *(client.dino_features(each, load_size=SMALL) for each in 3 * PICTURES)
            )
            return {each.timing.batch_size for each in found if each.timing}

        async def lacks_and_bytes() -> tuple[int, int]:
            await client.dino_features(PICTURES[0], load_size=SMALL)
            memory = cache(await only_worker(client), MEMORY)
            return memory.misses, memory.size_bytes

        before, nbytes = await lacks_and_bytes()
        await batch_sizes()
        learned, afterwards = await lacks_and_bytes()
        assert learned > before
        assert afterwards == nbytes
        assert 1 < max(await batch_sizes()) < 8
        assert await lacks_and_bytes() == (learned, nbytes), "it need not be learned again"
        with pytest.raises(OutOfMemory):
            await client.dino_features(PICTURES[0], load_size=LARGE)
        lacks, afterwards = await lacks_and_bytes()
        assert lacks > learned
        assert afterwards == nbytes
        assert not (await only_worker(client)).restarts


@pytest.mark.slow
async def test_of_models_that_a_card_has_no_room_for_the_least_recently_used_goes(
    small: PretendedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {name: small.loaded[family].nbytes for family, name in DEMO.items()}
    # 60 % of it are for models, which would take a tenth more.
    monkeypatch.setenv(CAPACITY, str(sum(sizes.values()) * 3 // 2))
    async with served("cuda:1") as client:
        await client.encode_text("a red circle")
        await client.dino_features(PICTURES[0])
        await client.encode_text("a blue star")
        all_but_one = cache(await only_worker(client), MEMORY).size_bytes
        await client.predict_masks(PICTURES[0], **CLICK)
        worker = await only_worker(client)
    assert {each.key: each.size_bytes for each in worker.models} == {
        name: sizes[name] for name in ("demo-clip", "demo-sam2")
    }
    grown = cache(worker, MEMORY).size_bytes - all_but_one
    embedding = cache(worker, "sam2_embeddings").size_bytes
    assert grown - embedding < sizes["demo-sam2"] - sizes["demo-dino"] // 2
