"""How many questions are under way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
from featsvc_client.bulk.limiter import START, Limiter

from tests.client.bulk.service import answer, asked, content, features, photos, results, run
from tests.client.gateway import Refusal, answering


async def test_each_round_of_answers_adds_one_and_a_refused_round_halves() -> None:
    now = [0.0]
    limiter = Limiter(100, lambda: now[0])
    assert limiter.limit == START
    rounds = 0
    while limiter.limit < 10:
        rounds += 1
        for _ in range(limiter.limit):
            limiter.answered()
    assert 5 <= rounds <= 8
    now[0] = 1.0
    for _ in range(5):
        limiter.refused(0.5)
    assert limiter.limit == 5, "refusals of one round count once"
    now[0] = 3.0
    limiter.refused(2.0)
    limiter.refused(2.5)
    assert limiter.limit == 2


async def test_it_never_falls_below_one_nor_rises_above_the_most() -> None:
    limiter = Limiter(3)
    for _ in range(50):
        limiter.answered()
    assert limiter.limit == 3
    for _ in range(50):
        limiter.refused(time.monotonic() + 1e9)
    assert limiter.limit == 1


async def test_no_more_than_the_limit_are_under_way_and_none_is_forgotten() -> None:
    limiter = Limiter(3)
    under_way = most = done = 0

    async def one() -> None:
        nonlocal under_way, most, done
        async with limiter.place():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            done += 1

    await asyncio.gather(*(one() for _ in range(20)))
    assert (most, done) == (3, 20)


def test_a_server_that_refuses_half_of_the_time_gives_all_results(tmp_path: Path) -> None:
    calls = 0

    def busy(request: Any) -> Any:
        nonlocal calls
        calls += hasattr(request, "image")
        full = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (("retry-after-ms", "1"),))
        return full if calls % 2 else answer(request)

    with answering(busy) as script:
        assert run(script, photos(tmp_path / "photos", 40), "--out", tmp_path / "out", "--format", "npz") == 0
    with answering(answer) as calm:
        assert run(calm, tmp_path / "photos", "--out", tmp_path / "calm", "--format", "npz") == 0
    assert results(tmp_path / "out") == results(tmp_path / "calm")
    assert sum(asked(script).values()) >= 79
    assert features(content(3)).shape == (2, 3, 4)


def test_a_refused_picture_waits_as_long_as_the_server_says(tmp_path: Path) -> None:
    times: list[float] = []

    def once(request: Any) -> Any:
        if not hasattr(request, "image"):
            return answer(request)
        times.append(time.monotonic())
        full = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (("retry-after-ms", "400"),))
        return full if len(times) == 1 else answer(request)

    with answering(once) as script:
        assert run(script, photos(tmp_path / "photos", 1), "--out", tmp_path / "out") == 0
    assert times[1] - times[0] >= 0.4
