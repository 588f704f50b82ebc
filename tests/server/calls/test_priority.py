"""How urgent a call is, its metadata say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest

from featsvc.codec.priority import HEADER
from featsvc.pool.contract.job import AnyJob
from tests.server.asking import arrived, asking, gate_at, opened, refusal
from tests.server.conftest import AUTHORISED, Running, start


@pytest.mark.parametrize("wrong", ["", "10", "-10", "1.5", "+1", "high"])
async def test_what_is_none_is_refused_by_its_name(served: Running, wrong: str) -> None:
    call = served.clip.ExtractFeatures(asking(b"say 1"), metadata=(*AUTHORISED, (HEADER, wrong)))
    error = await refusal(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert HEADER in error.details()
    assert "from -9 to 9" in error.details()


async def test_of_what_one_key_has_waiting_the_highest_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start(max_batch=1, slots=1) as running:
        gate, order = gate_at(tmp_path / "gate"), list[int]()

        async def ask(priority: int) -> None:
            metadata = (*AUTHORISED, (HEADER, str(priority)))
            await running.clip.ExtractFeatures(asking(b"say 1", load_size=100 + priority), metadata=metadata)
            order.append(priority)

        blocking = asyncio.ensure_future(
            running.clip.ExtractFeatures(asking(b"block " + gate.encode()), metadata=AUTHORISED)
        )
        await arrived(gate)
        pool, came = running.gateway.pool, asyncio.Semaphore(0)
        taken = pool.run

        def run(job: AnyJob) -> Awaitable[Any]:
            came.release()
            return taken(job)

        monkeypatch.setattr(pool, "run", run)
        asked = [asyncio.create_task(ask(priority)) for priority in (-3, 0, 5, 2)]
        for _ in asked:
            await came.acquire()
        await opened(gate)
        await asyncio.gather(blocking, *asked)
    assert order == [5, 2, 0, -3]
