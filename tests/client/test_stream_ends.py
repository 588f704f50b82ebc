"""Streams that break, are left, or have nobody at the other end, with both clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, RetryPolicy, errors

from tests.client.conftest import QUICK
from tests.client.gateway import Refusal, answering
from tests.client.streaming import UNAVAILABLE, Streamed, echo, picture, told


def test_a_broken_stream_is_opened_again_for_what_is_unanswered(streamed: Streamed) -> None:
    asked: list[int] = []

    def breaking(request: Any) -> Any:
        asked.append(request.image.content[0])
        return UNAVAILABLE if len(asked) in (4, 9, 10) else echo(request)

    with answering(breaking) as script:
        found = streamed(script.target, "stream_clip_features", map(picture, range(12)), window=3)
    assert told(found) == {number: number for number in range(12)}
    assert 12 + 3 <= len(asked) <= 12 + 3 * 3, "only what was under way is asked again"
    assert asked.count(0) == 1


def test_a_stream_that_breaks_every_time_is_raised(streamed: Streamed) -> None:
    with answering(UNAVAILABLE) as script, pytest.raises(errors.Unavailable, match="restarting"):
        streamed(script.target, "stream_clip_features", [picture(1)])
    assert len(script.requests) == QUICK.attempts


def test_a_server_that_has_answered_before_gets_the_time_of_a_question_to_come_back(
    streamed: Streamed,
) -> None:
    asked: list[int] = []

    def restarting(request: Any) -> Any:
        asked.append(request.image.content[0])
        return UNAVAILABLE if 2 < len(asked) < 4 * QUICK.attempts else echo(request)

    with answering(restarting) as script:
        found = streamed(script.target, "stream_clip_features", map(picture, range(4)), window=1)
    assert told(found) == {number: number for number in range(4)}
    assert asked.count(2) > 2 * QUICK.attempts


def test_a_policy_of_one_attempt_never_opens_a_second_stream(streamed: Streamed) -> None:
    once = {"retry": RetryPolicy(attempts=1)}
    with answering(echo, UNAVAILABLE) as script, pytest.raises(errors.Unavailable, match="restarting"):
        streamed(script.target, "stream_clip_features", map(picture, range(4)), window=1, client=once)
    assert len(script.requests) == 2


def test_a_refusal_of_the_stream_itself_is_raised(streamed: Streamed) -> None:
    refusal = Refusal(grpc.StatusCode.UNAUTHENTICATED, "wrong key")
    with answering(refusal) as script, pytest.raises(errors.AuthenticationError, match="wrong key"):
        streamed(script.target, "stream_clip_features", [picture(1)])


def test_a_stream_that_ends_for_a_reason_is_not_opened_again(streamed: Streamed) -> None:
    refusal = Refusal(
        grpc.StatusCode.UNAVAILABLE, "two workers died", (("featsvc-reason", "killed-workers"),)
    )
    with answering(echo, refusal) as script, pytest.raises(errors.Unavailable, match="two workers died"):
        streamed(script.target, "stream_clip_features", map(picture, range(4)), window=1)
    assert len(script.requests) == 2


def test_a_silent_server_costs_each_picture_its_time_and_no_more(streamed: Streamed) -> None:
    gate = threading.Event()

    def silent(request: Any) -> Any:
        gate.wait(30)
        return echo(request)

    with answering(silent) as script:
        try:
            found = streamed(script.target, "stream_clip_features", [picture(1), picture(2)], timeout=0.05)
        finally:
            gate.set()
    assert told(found) == {0: errors.DeadlineExceeded, 1: errors.DeadlineExceeded}


def endless() -> Iterator[bytes]:
    while True:
        yield picture(1)


def test_leaving_the_generator_ends_the_stream() -> None:
    with answering(echo) as script, FeatsvcClient(script.target, retry=QUICK) as client:
        answers = client.stream_clip_features(endless())
        next(answers)
        answers.close()
        assert "featsvc-stream" not in {thread.name for thread in threading.enumerate()}
    assert script.cancelled == [True]


async def test_leaving_the_asyncio_generator_ends_the_stream() -> None:
    with answering(echo) as script:
        async with AsyncFeatsvcClient(script.target, retry=QUICK) as client:
            answers = client.stream_clip_features(endless())
            await anext(answers)
            await answers.aclose()
            assert "awaiting.py" not in repr(asyncio.all_tasks())
    assert script.cancelled == [True]


def test_a_slow_source_does_not_hold_back_answers() -> None:
    more = threading.Event()

    def images() -> Iterator[bytes]:
        yield picture(7)
        assert more.wait(30), "the answer waited for the next picture"
        yield picture(8)

    with answering(echo) as script, FeatsvcClient(script.target) as client:
        found = []
        for name, each in client.stream_clip_features(images()):
            found.append((name, each))
            more.set()
    assert told(found) == {0: 7, 1: 8}


async def test_a_slow_source_does_not_hold_back_answers_with_asyncio() -> None:
    more = asyncio.Event()

    async def images() -> AsyncIterator[bytes]:
        yield picture(7)
        await asyncio.wait_for(more.wait(), 30)
        yield picture(8)

    with answering(echo) as script:
        async with AsyncFeatsvcClient(script.target) as client:
            found = []
            async for name, each in client.stream_clip_features(images()):
                found.append((name, each))
                more.set()
    assert told(found) == {0: 7, 1: 8}


def test_leaving_does_not_wait_for_a_source_that_takes_its_time() -> None:
    more = threading.Event()

    def images() -> Iterator[bytes]:
        yield picture(7)
        more.wait(30)

    with answering(echo) as script, FeatsvcClient(script.target) as client:
        for _ in client.stream_clip_features(images()):
            break
        assert not more.is_set()
    more.set()


IDLE = Refusal(grpc.StatusCode.UNAVAILABLE, "idle")


def test_a_server_may_end_a_stream_over_which_nothing_is_asked() -> None:
    def images() -> Iterator[bytes]:
        yield picture(0)
        for thread in threading.enumerate():
            if thread.name == "featsvc-stream":
                thread.join(30)
        yield picture(1)

    with answering(echo) as script, FeatsvcClient(script.target, retry=RetryPolicy(attempts=1)) as client:
        script.hangs_up = IDLE
        assert told(client.stream_clip_features(images(), window=1)) == {0: 0, 1: 1}


async def test_a_server_may_end_a_stream_over_which_nothing_is_asked_with_asyncio() -> None:
    async def images() -> AsyncIterator[bytes]:
        yield picture(0)
        if receiving := [task for task in asyncio.all_tasks() if "Line._receive" in repr(task)]:
            await asyncio.wait(receiving)
        yield picture(1)

    with answering(echo) as script:
        script.hangs_up = IDLE
        async with AsyncFeatsvcClient(script.target, retry=RetryPolicy(attempts=1)) as client:
            found = [each async for each in client.stream_clip_features(images(), window=1)]
    assert told(found) == {0: 0, 1: 1}


def test_an_error_of_the_source_comes_out(streamed: Streamed) -> None:
    def images() -> Iterator[bytes]:
        yield picture(1)
        raise KeyError("the list is damaged")

    with answering(echo) as script, pytest.raises(KeyError, match="damaged"):
        streamed(script.target, "stream_clip_features", images(), client={"retry": RetryPolicy()})
