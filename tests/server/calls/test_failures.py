"""A call that fails leaves nothing of its request behind, even before the garbage collector runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from featsvc.pool.contract.job import AnyJob
from featsvc.pool.workers.pool import WorkerPool
from tests.server.asking import asking, refusal
from tests.server.conftest import AUTHORISED, Running


@pytest.fixture
def no_collector() -> Iterator[None]:
    logging.disable()  # or pytest would keep the log's lines, and the errors in them
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("program", "code"),
    [(b"broken", grpc.StatusCode.INVALID_ARGUMENT), (b"defect", grpc.StatusCode.INTERNAL)],
)
async def test_a_request_goes_with_its_refusal(
    served: Running,
    no_collector: None,
    monkeypatch: pytest.MonkeyPatch,
    program: bytes,
    code: grpc.StatusCode,
) -> None:
    gone, run = asyncio.Event(), WorkerPool.run
    items: list[weakref.ref[object]] = []

    async def noting(pool: WorkerPool, job: AnyJob) -> Any:
        items.append(weakref.ref(job.item, lambda _: gone.set()))
        return await run(pool, job)

    monkeypatch.setattr(WorkerPool, "run", noting)
    error = await refusal(served.clip.ExtractFeatures(asking(program), metadata=AUTHORISED))
    assert error.code() == code
    await asyncio.wait_for(gone.wait(), 60)


async def test_a_connection_takes_calls_however_many_it_had_that_were_refused(
    served: Running, no_collector: None
) -> None:
    # gRPC counts what is still held: twice as many as one connection may have open.
    for _ in range(200):
        await refusal(served.clip.ExtractFeatures(asking(b""), metadata=AUTHORISED))
    await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
