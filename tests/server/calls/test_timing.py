"""Replies say what they have taken: where that is asked for, and unasked where it is long."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import grpc
import pytest

from featsvc.codec.timing import HEADER, WANTED, Timing
from featsvc.server.calls import call as calls
from featsvc.v1 import clip_pb2, model_pb2, stream_pb2
from tests.server.asking import asking, refusal
from tests.server.conftest import AUTHORISED, Running, start

ASKING = (*AUTHORISED, (HEADER, WANTED))
NEVER = float("inf")


async def behind(call: Any) -> dict[str, str]:
    """What comes behind a reply. Any: a call of a stub."""
    await call
    return dict(await call.trailing_metadata())


def parts_ms(timing: Timing | stream_pb2.Timing) -> float:
    return timing.queue_ms + timing.decode_ms + timing.compute_ms + timing.encode_ms


@pytest.fixture(autouse=True)
def nothing_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would depend on the machine what is told unasked."""
    monkeypatch.setattr(calls, "LONG_S", NEVER)


def test_what_is_written_is_read_again_and_nothing_else_is() -> None:
    timing = Timing(1.5, 0.25, 20.0, 0.5, 4)
    assert timing.written() == (
        "queue;dur=1.50, decode;dur=0.25, compute;dur=20.00, encode;dur=0.50, batch;desc=4"
    )
    assert Timing.read(timing.written()) == timing
    precise = replace(timing, precision="bf16")
    assert precise.written() == f"{timing.written()}, precision;desc=bf16"
    assert Timing.read(precise.written()) == precise
    assert Timing.read("") is None
    assert Timing.read("queue;dur=1, batch;desc=4") is None


async def test_who_asks_is_told_the_parts_of_the_time_between_question_and_reply(served: Running) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    told = await behind(served.clip.ExtractFeatures(asking(b"say 1"), metadata=ASKING))
    took_ms = 1000 * (loop.time() - began)
    timing = Timing.read(told[HEADER])
    assert timing is not None
    assert (timing.batch_size, timing.precision) == (1, "fp32")
    assert min(timing.queue_ms, timing.decode_ms, timing.compute_ms, timing.encode_ms) >= 0
    assert 0 < parts_ms(timing) <= took_ms
    assert timing.queue_ms > 0


async def test_each_reply_says_what_the_worker_that_gave_it_computes_in() -> None:
    async with start(devices="cpu,cuda:0") as served:
        await served.gateway.pool.alive_change(1)
        questions = (served.clip.ExtractFeatures(asking(b"say %d" % n), metadata=ASKING) for n in range(20))
        told = await asyncio.gather(*map(behind, questions))
        status = await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
    replies = Counter(timing.precision for each in told if (timing := Timing.read(each[HEADER])))
    assert replies == {worker.precision: worker.items for worker in status.workers}
    assert replies.keys() == {"fp32", "bf16"}


async def test_who_does_not_ask_is_told_where_it_is_long(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = asking(b"say 1")
    assert HEADER not in await behind(served.clip.ExtractFeatures(question, metadata=AUTHORISED))
    monkeypatch.setattr(calls, "LONG_S", 0.0)
    assert HEADER in await behind(served.clip.ExtractFeatures(question, metadata=AUTHORISED))


async def test_the_request_id_comes_back_beside_it(served: Running) -> None:
    named = (*ASKING, ("x-request-id", "mine"))
    told = await behind(served.clip.ExtractFeatures(asking(b"say 1"), metadata=named))
    assert told["x-request-id"] == "mine"
    assert HEADER in told


async def test_what_no_worker_has_answered_has_no_timing(served: Running) -> None:
    assert HEADER not in await behind(served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=ASKING))
    error = await refusal(served.clip.ExtractFeatures(asking(b"broken"), metadata=ASKING))
    assert HEADER not in dict(error.trailing_metadata())


async def test_a_reply_in_chunks_says_it_before_its_first_message(served: Running) -> None:
    asked = clip_pb2.ClipServiceExtractFeaturesChunkedRequest(request=asking(b"wide 3"))
    call = served.clip.ExtractFeaturesChunked(asked, metadata=ASKING)
    before = Timing.read(dict(await call.initial_metadata())[HEADER])
    assert len([message async for message in call]) == 4
    behind = Timing.read(dict(await call.trailing_metadata())[HEADER])
    assert before is not None
    assert behind is not None
    assert (before.queue_ms, before.compute_ms, before.encode_ms) == (behind.queue_ms, behind.compute_ms, 0.0)
    assert before.precision == behind.precision == "fp32"


async def test_a_stream_says_it_with_each_answer_and_not_for_all_of_them(served: Running) -> None:
    loop = asyncio.get_running_loop()
    questions = [
        clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id=name, request=asking(name.encode()))
        for name in ("say 1", "say 2", "broken")
    ]
    began = loop.time()
    call: grpc.aio.StreamStreamCall = served.clip.ExtractFeaturesStream(iter(questions), metadata=AUTHORISED)
    told = {answer.request_id: answer async for answer in call}
    took_ms = 1000 * (loop.time() - began)
    assert HEADER not in dict(await call.trailing_metadata())
    assert not told.pop("broken").HasField("timing")
    assert len(told) == 2
    for answer in told.values():
        assert answer.timing.batch_size >= 1
        assert answer.timing.queue_ms > 0
        assert answer.timing.precision == "fp32"
        assert 0 < parts_ms(answer.timing) <= took_ms
