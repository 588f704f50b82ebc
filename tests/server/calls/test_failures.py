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

from featsvc.codec.picture_files import LARGE, Files, without_files
from featsvc.errors import FeatsvcError
from featsvc.pool.contract.job import AnyJob
from featsvc.pool.workers.pool import WorkerPool
from featsvc.server.calls.call import Call
from featsvc.server.calls.refusals import Refusals
from featsvc.v1 import clip_pb2
from tests.server.asking import Request, asking, refusal
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


class KeptFiles:
    """Which large picture files, as they were taken out of messages, are still known; none is at first."""

    class Noted(dict[str, bytes | Files]):
        """Files that can be asked whether they are still there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._refs: list[weakref.ref[object]] = []
        monkeypatch.setattr("featsvc.server.calls.guard.without_files", self._noted)

    def _noted(self, raw: bytes, descriptor: Any) -> tuple[bytes, Files]:  # as the function itself
        rest, files = without_files(raw, descriptor)
        noted = self.Noted(files)
        self._refs.append(weakref.ref(noted, self._gone))
        return rest, noted

    def _gone(self, _: object) -> None:
        self._loop.call_soon_threadsafe(self.gone.set)


async def test_a_stream_that_asks_nothing_more_keeps_no_picture(
    served: Running, no_collector: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptFiles(monkeypatch)
    stream = served.clip.ExtractFeaturesStream(metadata=AUTHORISED)
    await stream.write(in_stream(asking(bytes(LARGE + 1))))
    assert not (await stream.read()).HasField("error")
    await asyncio.wait_for(kept.gone.wait(), 60)
    await stream.done_writing()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_refusal_that_waits_to_be_told_keeps_no_picture(
    served: Running, no_collector: None, monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    kept = KeptFiles(monkeypatch)

    async def held(refusals: Refusals, call: Call, refusal: FeatsvcError) -> FeatsvcError:
        await asyncio.wait_for(kept.gone.wait(), 60)
        return refusal

    monkeypatch.setattr(Refusals, "of_question" if is_stream else "of_call", held)
    broken = asking(b"broken " + bytes(LARGE))
    if is_stream:
        stream = served.clip.ExtractFeaturesStream(iter([in_stream(broken)]), metadata=AUTHORISED)
        assert (await stream.read()).error.code == "INVALID_ARGUMENT"
    else:
        error = await refusal(served.clip.ExtractFeatures(broken, metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def in_stream(request: Request) -> clip_pb2.ClipServiceExtractFeaturesStreamRequest:
    """The request as a stream asks it."""
    return clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id="1", request=request)
