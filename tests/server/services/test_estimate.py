"""What a question would cost is told without asking it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from featsvc.server.services.estimate import by_question
from featsvc.v1 import clip_pb2, estimate_pb2, estimate_pb2_grpc, model_pb2
from featsvc.work.operations import OPERATIONS
from tests.server.asking import OTHER_KEY, again, arrived, asking, gate_at, opened, refusal, violations
from tests.server.conftest import AUTHORISED, Running, start

Asked = estimate_pb2.EstimateRequest


async def estimated(
    running: Running, request: Asked, metadata: tuple[tuple[str, str], ...] = AUTHORISED
) -> estimate_pb2.EstimateResponse:
    stub = estimate_pb2_grpc.EstimateServiceStub(running.channel)
    found: estimate_pb2.EstimateResponse = await stub.Estimate(request, metadata=metadata)
    return found


def features(program: bytes, **params: object) -> Asked:
    return Asked(extract_clip_features=asking(program, **params))


def test_every_operation_can_be_estimated() -> None:
    assert sorted(each.rpc for each in by_question(OPERATIONS).values()) == sorted(
        each.rpc for each in OPERATIONS
    )


async def test_what_is_known_of_the_cost_is_said_and_nothing_is_asked(served: Running) -> None:
    question = features(b"say 1")
    first = await estimated(served, question)
    assert first.basis == estimate_pb2.COST_BASIS_ASSUMED
    assert first.cost_s > 0
    assert first.wait_s == 0
    assert (first.model, first.model_loaded) == ("demo-clip", False)
    assert served.gateway.pool.status().total_requests == 0

    await served.clip.ExtractFeatures(asking(b"say 2", load_size=64), metadata=AUTHORISED)
    second = await estimated(served, question)
    assert second.basis == estimate_pb2.COST_BASIS_SAME_MODEL
    assert second.model_loaded

    await served.clip.ExtractFeatures(asking(b"say 3"), metadata=AUTHORISED)
    third = await estimated(served, question)
    assert third.basis == estimate_pb2.COST_BASIS_ALIKE
    assert third.cost_s != first.cost_s
    assert served.gateway.pool.status().total_requests == 2


async def test_the_wait_is_for_what_the_same_key_has_ahead(tmp_path: Path) -> None:
    async with start(max_batch=1, slots=1) as running:
        gate = gate_at(tmp_path / "gate")
        blocking = asyncio.ensure_future(
            running.clip.ExtractFeatures(asking(b"block " + gate.encode()), metadata=AUTHORISED)
        )
        await arrived(gate)
        waiting = [
            asyncio.ensure_future(running.clip.ExtractFeatures(asking(b"say %d" % each), metadata=AUTHORISED))
            for each in range(3)
        ]
        while (await running.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).queued < 3:
            pass
        mine = await estimated(running, features(b"say 9"))
        others = await estimated(running, features(b"say 9"), OTHER_KEY)
        await opened(gate)
        await asyncio.gather(blocking, *waiting)
        after = await estimated(running, features(b"say 9"))
    assert mine.wait_s >= 3 * mine.cost_s
    assert mine.wait_s > others.wait_s
    assert after.wait_s == 0


async def test_a_wrong_question_is_refused_as_where_it_is_asked(served: Running) -> None:
    for question, field in (
        (Asked(), "question"),
        (features(b"say 1", load_size=0), "params.load_size"),
        (features(b""), "image.content"),
        (Asked(encode_text=clip_pb2.EncodeTextRequest()), "texts"),
    ):
        error = await refusal(estimated(served, question))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert list(violations(error)) == [field]


async def test_a_picture_is_not_kept_for_having_been_estimated(served: Running) -> None:
    await estimated(served, features(b"say 1"))
    by_digest = clip_pb2.ClipServiceExtractFeaturesRequest(image=again(b"say 1"))
    error = await refusal(estimated(served, Asked(extract_clip_features=by_digest)))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_model_that_nobody_has_and_a_server_that_ends_are_told(served: Running) -> None:
    error = await refusal(estimated(served, features(b"say 1", model_name="nobody")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    await served.gateway.pool.drain(0)
    error = await refusal(estimated(served, features(b"say 1")))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
