"""Many questions over one call: order, errors of single questions, the window, and callers that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from featsvc.codec.arrays import to_array
from featsvc.server.gateway import gateway
from featsvc.settings.tree import Settings
from featsvc.v1 import clip_pb2, clip_pb2_grpc, dino_pb2, image_pb2, model_pb2, sam2_pb2
from tests.server.asking import Request, again, arrived, asking, digest_of, gate_at, opened, refusal
from tests.server.conftest import AUTHORISED, KEY, Lines, Running, start

StreamRequest = clip_pb2.ClipServiceExtractFeaturesStreamRequest
StreamResponse = clip_pb2.ClipServiceExtractFeaturesStreamResponse


def question(name: str, program: bytes, **params: object) -> clip_pb2.ClipServiceExtractFeaturesStreamRequest:
    return StreamRequest(request_id=name, request=asking(program, **params))


async def answers(call: AsyncIterator[Any]) -> dict[str, Any]:
    return {reply.request_id: reply async for reply in call}


def asked(served: Running, questions: Iterable[Any], **more: object) -> Any:
    return served.clip.ExtractFeaturesStream(iter(questions), metadata=AUTHORISED, **more)


async def test_each_question_has_its_answer_under_its_name(served: Running) -> None:
    found = await answers(asked(served, (question(f"q{n}", f"say {n}".encode()) for n in range(40))))
    assert {name: to_array(reply.response.features).max() for name, reply in found.items()} == {
        f"q{n}": n for n in range(40)
    }
    assert found["q7"].response.image_digest == digest_of(b"say 7")
    assert found["q7"].response == await served.clip.ExtractFeatures(asking(b"say 7"), metadata=AUTHORISED)


async def test_answers_come_as_they_are_done(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(devices="cpu:2") as served:
        await served.gateway.pool.alive_change(1)
        call = served.clip.ExtractFeaturesStream(metadata=AUTHORISED)
        await call.write(question("slow", f"block {gate}".encode()))
        await arrived(gate)
        # Other parameters, so that they share no batch.
        await call.write(question("quick", b"say 2", load_size=500))
        assert (await call.read()).request_id == "quick"
        await opened(gate)
        assert (await call.read()).request_id == "slow"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK


async def test_a_bad_question_fails_alone_and_says_what_the_unary_call_would(served: Running) -> None:
    questions = [
        question("good", b"say 1"),
        question("field", b"say 1", load_size=99999, pca_q_max=2),
        question("nothing", b""),
        StreamRequest(request_id="empty"),
        question("model", b"say 1", model_name="ViT-B-61"),
        StreamRequest(request_id="digest", request=Request(image=again(b"never"))),
        question("defect", b"defect"),
        question("large", b"large"),
        question("x" * 200, b"say 1"),
        question("also good", b"say 3"),
    ]
    found = await answers(asked(served, questions))
    told = {
        name: (reply.error.code, {each.field for each in reply.error.field_violations})
        for name, reply in found.items()
        if reply.WhichOneof("outcome") == "error"
    }
    assert told == {
        "field": ("INVALID_ARGUMENT", {"params.load_size", "features.pca_q_max"}),
        "nothing": ("INVALID_ARGUMENT", {"image.content"}),
        "empty": ("INVALID_ARGUMENT", {"request"}),
        "model": ("NOT_FOUND", set()),
        "digest": ("NOT_FOUND", {"image.digest"}),
        "defect": ("INTERNAL", set()),
        "large": ("RESOURCE_EXHAUSTED", set()),
        "x" * 200: ("INVALID_ARGUMENT", {"request_id"}),
    }
    assert "secret" not in found["defect"].error.message
    unary = await refusal(served.clip.ExtractFeatures(questions[4].request, metadata=AUTHORISED))
    assert found["model"].error.message == unary.details()
    assert found["good"].HasField("response")
    assert found["also good"].HasField("response")


async def test_a_full_queue_fails_questions_with_the_time_to_try_again(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_queue=1, max_concurrency=1) as served:
        call = served.clip.ExtractFeaturesStream(metadata=AUTHORISED)
        await call.write(question("running", f"block {gate}".encode()))
        await arrived(gate)
        for n in range(3):
            await call.write(question(f"waits {n}", b"say 1"))
        refused = await call.read()
        assert refused.error.code == "RESOURCE_EXHAUSTED"
        assert refused.error.retry_after_ms > 0
        await opened(gate)
        await call.done_writing()
        codes = [refused.error.code]
        while (reply := await call.read()) is not grpc.aio.EOF:
            codes.append(reply.error.code)
        assert sorted(codes)[0] == ""
        assert len(codes) == 4


async def test_the_server_reads_no_further_than_its_window(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_open_per_stream=3, max_batch=1, max_concurrency=1) as served:
        call = served.clip.ExtractFeaturesStream(metadata=AUTHORISED)
        await call.write(question("blocks", f"block {gate}".encode()))
        await arrived(gate)
        for n in range(10):
            await call.write(question(f"q{n}", b"say 1"))
        # Another call goes all the way meanwhile, so the server has had its time to read.
        await refusal(served.clip.ExtractFeatures(Request(), metadata=AUTHORISED))
        assert (await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).requests <= 3
        await opened(gate)
        await call.done_writing()
        assert len(await answers(call)) == 11


async def test_a_caller_that_leaves_takes_its_open_questions_along(tmp_path: Path, lines: Lines) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_concurrency=1, max_batch=1) as served:
        call = served.clip.ExtractFeaturesStream(metadata=AUTHORISED)
        await call.write(question("blocks", f"block {gate}".encode()))
        await arrived(gate)
        for n in range(5):
            await call.write(question(f"q{n}", b"say 1", load_size=100 + n))
        call.cancel()
        line = await lines.get()
        assert (line["code"], line["messages_out" if "messages_out" in line else "bytes_out"]) == (
            "CANCELLED",
            0,
        )
        assert (await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).queued == 0
        await opened(gate)


async def test_the_deadline_of_the_call_holds_for_all_its_questions(served: Running, tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    call = asked(served, [question("blocks", f"block {gate}".encode())], timeout=1)
    assert (await refusal(answers(call))).code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_caller_whose_own_clock_is_late_is_told_of_the_deadline_too(
    served: Running, tmp_path: Path
) -> None:
    gate = gate_at(tmp_path / "gate")
    # As gRPC sends it with a timeout; here nothing watches the time but the server.
    metadata = (*AUTHORISED, ("grpc-timeout", "1S"))
    call = served.clip.ExtractFeaturesStream(metadata=metadata)
    await call.write(question("blocks", f"block {gate}".encode()))
    await call.done_writing()
    error = await refusal(answers(call))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_bytes_that_are_no_message_end_the_stream(served: Running) -> None:
    call = served.channel.stream_stream("/featsvc.v1.ClipService/ExtractFeaturesStream")(metadata=AUTHORISED)
    await call.write(b"\xff\xff\xff")
    error = await refusal(call.read())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_shutdown_answers_what_is_open_and_ends_a_stream_that_waits_for_its_caller(
    tmp_path: Path,
) -> None:
    gate = gate_at(tmp_path / "gate")
    settings = Settings(profile="demo", grpc_port=0, devices="cpu", grace=1000.0)
    running = gateway(settings, (KEY,), engines="tests.server.fakes:build")
    async with asyncio.timeout(60):
        served = await running.__aenter__()
        await served.pool.alive_change(0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            call = clip_pb2_grpc.ClipServiceStub(channel).ExtractFeaturesStream(metadata=AUTHORISED)
            await call.write(question("open", f"block {gate}".encode()))
            await arrived(gate)
            leaving = asyncio.create_task(running.__aexit__(None, None, None))
            await opened(gate)
            assert (await call.read()).HasField("response")
            assert (await refusal(call.read())).code() == grpc.StatusCode.UNAVAILABLE
            await leaving


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),)])
async def test_a_stream_needs_a_key(served: Running, metadata: tuple[tuple[str, str], ...]) -> None:
    # Nothing is written: grpc.aio loses the status of a stream that ends during a write (grpc/grpc#36066).
    error = await refusal(served.clip.ExtractFeaturesStream(metadata=metadata).read())
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_an_empty_stream_ends_well(served: Running) -> None:
    call = asked(served, [])
    assert await answers(call) == {}
    assert await call.code() == grpc.StatusCode.OK


async def test_the_line_of_log_counts_messages_and_bytes(served: Running, lines: Lines) -> None:
    metadata = (*AUTHORISED, ("x-request-id", "a-stream"))
    questions = [question(f"q{n}", b"say 1") for n in range(4)]
    call = served.clip.ExtractFeaturesStream(iter(questions), metadata=metadata)
    found = await answers(call)
    line = await lines.get()
    assert (line["request_id"], line["code"]) == ("a-stream", "OK")
    assert (line["messages_in"], line["messages_out"]) == (4, 4)
    assert line["bytes_in"] == sum(each.ByteSize() for each in questions)
    assert line["bytes_out"] == sum(each.ByteSize() for each in found.values())
    assert dict(await call.trailing_metadata())["x-request-id"] == "a-stream"


async def test_dino_and_prompt_masks_stream_alike(served: Running) -> None:
    picture = image_pb2.Image(content=b"say 4")
    dino = dino_pb2.DinoServiceExtractFeaturesStreamRequest(
        request_id="d", request=dino_pb2.DinoServiceExtractFeaturesRequest(image=picture)
    )
    found = await answers(served.dino.ExtractFeaturesStream(iter([dino]), metadata=AUTHORISED))
    assert to_array(found["d"].response.features).max() == 4
    masks = sam2_pb2.PredictMasksStreamRequest(
        request_id="s", request=sam2_pb2.PredictMasksRequest(image=picture)
    )
    found = await answers(served.sam2.PredictMasksStream(iter([masks]), metadata=AUTHORISED))
    assert to_array(found["s"].response.results[0].iou_predictions).tolist() == [4.0]
    unary = await served.sam2.PredictMasks(masks.request, metadata=AUTHORISED)
    assert found["s"].response == unary


async def test_masks_come_one_by_one_and_then_their_summary(served: Running) -> None:
    asked = sam2_pb2.GenerateMasksRequest(image=image_pb2.Image(content=b"say 5"))
    unary = await served.sam2.GenerateMasks(asked, metadata=AUTHORISED)
    call = served.sam2.GenerateMasksStream(
        sam2_pb2.GenerateMasksStreamRequest(request=asked), metadata=AUTHORISED
    )
    *masks, last = [message async for message in call]
    assert [message.mask for message in masks] == list(unary.masks)
    summary = last.summary
    assert (summary.count, summary.height, summary.width) == (5, unary.height, unary.width)
    assert (summary.model, summary.image_digest) == (unary.model, unary.image_digest)
    assert np.array_equal(to_array(masks[0].mask.bitmap), [[1, 0, 1], [0, 1, 0]])


async def test_many_streams_at_once_keep_their_answers_apart(served: Running) -> None:
    async def one(number: int) -> set[float]:
        programs = (question(f"q{n}", f"say {number}".encode()) for n in range(20))
        found = await answers(asked(served, programs))
        return {float(to_array(reply.response.features).max()) for reply in found.values()}

    assert await asyncio.gather(*map(one, range(6))) == [{float(n)} for n in range(6)]
