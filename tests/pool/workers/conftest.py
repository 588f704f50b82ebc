"""A pool of two workers that are no processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.workers.pool import WorkerPool
from tests.pool.conftest import all_alive
from tests.pool.fake_workers import FakeSpawn

SETTINGS = PoolSettings(
    devices=("one", "two"), slots=1, max_batch_items=1, restart_delay_s=0.0, affinity_s=3600.0
)


@pytest.fixture
def spawn() -> FakeSpawn:
    return FakeSpawn()


@pytest_asyncio.fixture
async def pool(spawn: FakeSpawn) -> AsyncIterator[WorkerPool]:
    async with WorkerPool(SETTINGS, spawn) as pool:
        await all_alive(pool)
        yield pool
