"""What one key asks for keeps no other from a place: calls and requests of a flood give way, the newest first."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from pathlib import Path

import grpc

from featsvc.v1 import clip_pb2, model_pb2
from tests.server.asking import OTHER_KEY, arrived, asking, gate_at, opened, until_waiting
from tests.server.conftest import AUTHORISED, Running, start

Question = clip_pb2.ClipServiceExtractFeaturesStreamRequest
TEXT = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a"]))


async def until_at_work(served: Running, count: int) -> None:
    """Returns when so many questions have come: a call without one would be the first to give way."""
    while served.gateway.pool.status().total_requests < count:
        # Takes no place of a key.
        await served.model.GetStatus(model_pb2.GetStatusRequest())


def asked(served: Running, program: bytes) -> asyncio.Task[str]:
    """The answer to the first question of a stream of the flood."""

    async def answered() -> str:
        call = served.clip.ExtractFeaturesStream(metadata=AUTHORISED)
        await call.write(Question(request_id="1", request=asking(program)))
        return str((await call.read()).request_id)

    return asyncio.create_task(answered())


async def next_refused(flood: list[asyncio.Task[str]]) -> grpc.aio.AioRpcError:
    """How the stream has ended that ends first, whichever that is; it belongs to the flood no longer."""
    (first, *_), _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
    flood.remove(first)
    error = first.exception()
    assert isinstance(error, grpc.aio.AioRpcError)
    return error


def told_to_wait_ms(error: grpc.aio.AioRpcError) -> int:
    """When a refusal says to come back: to those who ask for it, and to gRPC's own retries."""
    trailing = dict(error.trailing_metadata() or ())
    assert trailing["retry-after-ms"] == trailing["grpc-retry-pushback-ms"]
    return int(trailing["retry-after-ms"])


async def first_of(
    tasks: list[asyncio.Task[grpc.aio.AioRpcError | None]], count: int
) -> list[grpc.aio.AioRpcError]:
    """The refusals of those that are refused first, as soon as there are so many."""
    refusals = [await each for each in itertools.islice(asyncio.as_completed(tasks), count)]
    return [each for each in refusals if each is not None]


async def test_streams_that_are_at_work_give_way_to_the_calls_of_another_key(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_calls=8) as served:
        flood = [asked(served, f"block {gate}".encode())]
        await arrived(gate)
        flood += [asked(served, b"say 1") for _ in range(7)]
        await until_at_work(served, 8)
        flood.append(asked(served, b"say 1"))
        refused = await next_refused(flood)
        assert "8 calls are open, at most 8 (--max-calls), 8 of them of this key" in (refused.details() or "")
        for _ in range(3):
            await served.model.ListModels(model_pb2.ListModelsRequest(), metadata=OTHER_KEY)
        first = await next_refused(flood)
        assert first.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "8 calls of this key are open, which is more than others have" in (first.details() or "")
        assert told_to_wait_ms(first) >= 100
        await opened(gate)
        assert await asyncio.gather(*flood) == ["1"] * 7, "only one has given way"


async def test_a_key_has_a_limit_of_its_own_for_calls(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_calls_per_key=2) as served:
        flood = [asked(served, f"block {gate}".encode())]
        await arrived(gate)
        flood.append(asked(served, b"say 1"))
        await until_at_work(served, 2)
        flood.append(asked(served, b"say 1"))
        refused = await next_refused(flood)
        assert "open calls of this key: 2, at most 2 (max_calls_per_key)" in (refused.details() or "")
        await served.model.ListModels(model_pb2.ListModelsRequest(), metadata=OTHER_KEY)
        await opened(gate)
        assert await asyncio.gather(*flood) == ["1"] * 2


async def test_requests_of_a_flood_give_way_and_another_key_is_served_before_it(tmp_path: Path) -> None:
    gate, done = gate_at(tmp_path / "gate"), list[str]()

    async def noted(name: str, answer: Awaitable[object]) -> grpc.aio.AioRpcError | None:
        try:
            await answer
        except grpc.aio.AioRpcError as error:
            return error
        done.append(name)
        return None

    async with start(max_queue=16, slots=1, max_batch=1) as served:
        held = asyncio.ensure_future(
            served.clip.ExtractFeatures(asking(f"block {gate}".encode()), metadata=AUTHORISED)
        )
        await arrived(gate)
        # With deadlines that come before those of others, as who wants to be first would set them.
        flood = [
            asyncio.create_task(noted("flood", served.clip.EncodeText(TEXT, metadata=AUTHORISED, timeout=50)))
            for _ in range(40)
        ]
        (refused, *_) = await first_of(flood, 24)
        assert "(--max-queue), 16 of them of this key: try again in" in (refused.details() or "")
        others = [
            asyncio.create_task(noted("other", served.clip.EncodeText(TEXT, metadata=OTHER_KEY)))
            for _ in range(5)
        ]
        # The first is the worker's guest. Four of the flood give way: then the others are in the queue.
        await first_of(flood, 28)
        await opened(gate)
        assert await asyncio.gather(*others) == [None] * 5
        told = [error for error in await asyncio.gather(*flood) if error]
        await held
    assert all(told_to_wait_ms(error) >= 100 for error in told)
    assert len([error for error in told if "which is more than others have" in (error.details() or "")]) == 4
    assert done.count("flood") == 12
    assert done.index("other") <= 1
    assert [name for name in done if name == "other"] == ["other"] * 5
    last = len(done) - 1 - done[::-1].index("other")
    assert last <= 8, "they take turns"


async def test_who_comes_back_when_it_was_told_finds_a_place(tmp_path: Path) -> None:
    first, second = (gate_at(tmp_path / name) for name in ("first", "second"))
    async with start(max_queue=8, slots=1, max_batch=1) as served:

        async def ended(asked: Awaitable[object]) -> grpc.aio.AioRpcError | None:
            try:
                await asked
            except grpc.aio.AioRpcError as error:
                return error
            return None

        def text(timeout_s: float) -> asyncio.Task[grpc.aio.AioRpcError | None]:
            asked = served.clip.EncodeText(TEXT, metadata=AUTHORISED, timeout=timeout_s)
            return asyncio.create_task(ended(asked))

        def blocked(gate: str, timeout_s: float) -> asyncio.Task[grpc.aio.AioRpcError | None]:
            asked = served.clip.ExtractFeatures(
                asking(f"block {gate}".encode()), metadata=AUTHORISED, timeout=timeout_s
            )
            return asyncio.create_task(ended(asked))

        async def came_back(wait_ms: int) -> grpc.aio.AioRpcError | None:
            await asyncio.sleep(wait_ms / 1000)  # as long as the server has said
            return await text(80)

        admitted = [blocked(first, 80)]
        await arrived(first)
        # What has less time goes first: the worker stops again before the last four.
        admitted += [*(text(50) for _ in range(3)), blocked(second, 60), *(text(80) for _ in range(4))]
        await until_waiting(served, 8)
        refusals = await asyncio.gather(*(text(80) for _ in range(4)))
        told_ms = [told_to_wait_ms(error) for error in refusals if error]
        assert len(told_ms) == 4
        await opened(first)
        await arrived(second)
        # The four places that are free are held for them.
        there = asyncio.create_task(until_at_work(served, served.gateway.pool.status().total_requests + 4))
        admitted += [asyncio.create_task(came_back(wait_ms)) for wait_ms in told_ms]
        await there
        await opened(second)
        assert await asyncio.gather(*admitted) == [None] * 13
