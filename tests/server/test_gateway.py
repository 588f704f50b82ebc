"""The gateway over a real socket, with fake engines in a real worker process."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from featsvc.codec.arrays import to_array
from featsvc.pool.workers.pool import WorkerPool
from featsvc.v1 import clip_pb2, image_pb2, model_pb2
from tests.server.asking import Request, arrived, asking, gate_at, opened, refusal, violations
from tests.server.conftest import AUTHORISED, Running, start


async def test_an_answer_holds_the_tensor_its_geometry_and_the_model(served: Running) -> None:
    reply = await served.clip.ExtractFeatures(asking(b"say 7"), metadata=AUTHORISED)
    assert np.array_equal(to_array(reply.features), np.full((2, 3, 4), 7, np.float32))
    assert (reply.geometry.grid_height, reply.geometry.grid_width, reply.model) == (2, 3, "demo-clip")


@pytest.mark.parametrize(
    "header", [(), (("authorization", "Bearer wrong"),), (("authorization", "right-key"),)]
)
async def test_a_call_without_a_right_key_is_refused(
    served: Running, header: tuple[tuple[str, str], ...]
) -> None:
    error = await refusal(served.clip.ExtractFeatures(asking(b"say 7"), metadata=header))
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "Bearer" in error.details()


async def test_every_key_of_several_is_accepted(served: Running) -> None:
    for key in ("right-key", "other-key"):
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=(("authorization", f"Bearer {key}"),))


async def test_bad_fields_are_all_named(served: Running) -> None:
    asked = asking(b"say 1", load_size=99999, pca_q_min=0.9, pca_q_max=2, interpolation_mode=77)
    error = await refusal(served.clip.ExtractFeatures(asked, metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert set(violations(error)) == {"params.load_size", "features.pca_q_max", "grid.interpolation_mode"}
    assert "8192" in violations(error)["params.load_size"]


async def test_very_many_bad_fields_still_give_a_readable_answer(served: Running) -> None:
    asked = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["é" * 5000] * 1000))
    error = await refusal(served.clip.EncodeText(asked, metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "texts.text[0]" in violations(error)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request(), "image"),
        (Request(image=image_pb2.Image()), "image"),
        (asking(b""), "image.content"),
        (asking(b"x" * 2001), "image.content"),
        (Request(image=image_pb2.Image(url="ftp://example.com/a.png")), "image.url"),
    ],
)
async def test_a_picture_that_is_missing_or_too_large_is_told_by_field(
    request_: clip_pb2.ClipServiceExtractFeaturesRequest, field: str
) -> None:
    async with start(max_image_bytes=2000) as served:
        error = await refusal(served.clip.ExtractFeatures(request_, metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert field in violations(error)


async def test_bytes_that_are_no_message_are_an_invalid_argument(served: Running) -> None:
    call = served.channel.unary_unary("/featsvc.v1.ClipService/ExtractFeatures")
    error = await refusal(call(b"\xff\xff\xff", metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_an_unknown_model_is_not_found_and_close_names_are_offered(served: Running) -> None:
    error = await refusal(
        served.clip.ExtractFeatures(asking(b"say 1", model_name="ViT-B-61"), metadata=AUTHORISED)
    )
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "ViT-B-16" in error.details()


async def test_a_known_model_without_weights_is_a_failed_precondition_that_says_what_would_mend_it(
    served: Running,
) -> None:
    error = await refusal(
        served.clip.ExtractFeatures(asking(b"say 1", model_name="ViT-B-16"), metadata=AUTHORISED)
    )
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "ViT-B-16_openai.safetensors" in error.details()


async def test_a_defect_shows_no_path_and_no_trace_but_the_request_id(served: Running) -> None:
    metadata = (*AUTHORISED, ("x-request-id", "the-id-7"))
    error = await refusal(served.clip.ExtractFeatures(asking(b"defect"), metadata=metadata))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert "Traceback" not in error.details()
    assert dict(error.trailing_metadata())["x-request-id"] == "the-id-7"


async def test_a_reply_over_the_limit_is_marked_so_that_nobody_retries_it(served: Running) -> None:
    error = await refusal(served.clip.ExtractFeatures(asking(b"large"), metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(error.trailing_metadata())["featsvc-reason"] == "reply-too-large"


async def test_a_request_over_the_limit_is_named_so_and_not_as_the_reply() -> None:
    async with start(max_request_bytes=1000) as served:
        error = await refusal(served.clip.ExtractFeatures(asking(bytes(1001)), metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(error.trailing_metadata())["featsvc-reason"] == "request-too-large"
        assert "at most 1000 (--max-request-bytes)" in error.details()
        # A client that does not know the reason reads gRPC's own words, of what is larger by far.
        error = await refusal(served.clip.ExtractFeatures(asking(bytes(10_000)), metadata=AUTHORISED))
        assert "Received message larger than max" in error.details()


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_queue=1, max_concurrency=1) as served:
        block = asking(f"block {gate}".encode())
        running = asyncio.ensure_future(served.clip.ExtractFeatures(block, metadata=AUTHORISED))
        await arrived(gate)
        calls = [
            asyncio.ensure_future(served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED))
            for _ in range(3)
        ]
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        error = next(iter(done)).exception()
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.trailing_metadata())["retry-after-ms"]) > 0
        await opened(gate)
        await running
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(answer, clip_pb2.ClipServiceExtractFeaturesResponse) for answer in answers)


async def test_the_callers_deadline_ends_the_wait(served: Running, tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    block = asking(f"block {gate}".encode())
    running = asyncio.ensure_future(served.clip.ExtractFeatures(block, metadata=AUTHORISED))
    await arrived(gate)
    error = await refusal(served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED, timeout=0.2))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await opened(gate)
    await running


async def test_a_killed_worker_costs_no_request(served: Running) -> None:
    before = (await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).workers[0]
    os.kill(before.pid, signal.SIGKILL)
    calls = [served.clip.ExtractFeatures(asking(b"say 5"), metadata=AUTHORISED) for _ in range(32)]
    replies = await asyncio.gather(*calls)
    assert all(to_array(reply.features).max() == 5 for reply in replies)
    after = (await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).workers[0]
    assert (after.restarts, after.pid != before.pid) == (1, True)


async def test_a_request_that_kills_two_workers_is_refused_and_others_are_not(served: Running) -> None:
    deadly = asyncio.ensure_future(served.clip.ExtractFeatures(asking(b"kill"), metadata=AUTHORISED))
    calls = [served.clip.ExtractFeatures(asking(b"say 5"), metadata=AUTHORISED) for _ in range(8)]
    assert len(await asyncio.gather(*calls)) == 8
    error = await refusal(deadly)
    assert error.code() == grpc.StatusCode.INTERNAL
    assert dict(error.trailing_metadata())["featsvc-reason"] == "killed-workers"
    assert "two workers died of this request" in error.details()
    again = await refusal(served.clip.ExtractFeatures(asking(b"kill"), metadata=AUTHORISED))
    assert dict(again.trailing_metadata())["featsvc-reason"] == "killed-workers"
    # Answered by the worker that was started again, which is counted when it starts.
    await served.clip.ExtractFeatures(asking(b"say 5"), metadata=AUTHORISED)
    status = await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
    assert status.workers[0].restarts == 2, "asking again costs no worker"


async def test_a_request_that_takes_too_long_is_ended_with_a_reason_and_not_tried_again(
    tmp_path: Path,
) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(batch_timeout=0.2) as served:
        block = asking(f"block {gate}".encode())
        error = await refusal(served.clip.ExtractFeatures(block, metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert dict(error.trailing_metadata())["featsvc-reason"] == "took-too-long"
        assert "--batch-timeout" in error.details()
        assert isinstance(served.gateway.pool, WorkerPool)
        scheduler = served.gateway.pool._scheduler  # or a worker that is only slow would be killed too
        scheduler._settings = replace(scheduler._settings, batch_timeout_s=300.0)
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
        status = await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
        assert status.workers[0].restarts == 1


async def test_models_are_listed_loaded_and_unloaded(served: Running) -> None:
    listed = await served.model.ListModels(model_pb2.ListModelsRequest(), metadata=AUTHORISED)
    keys = {model.key for model in listed.models}
    assert {"demo-clip", "ViT-L-14-336-quickgelu/openai", "dinov2_vitl14", "sam2.1_hiera_large"} <= keys
    dino = await served.model.ListModels(
        model_pb2.ListModelsRequest(family=model_pb2.FAMILY_DINO), metadata=AUTHORISED
    )
    assert {model.family for model in dino.models} == {model_pb2.FAMILY_DINO}
    available = await served.model.ListModels(
        model_pb2.ListModelsRequest(available_only=True), metadata=AUTHORISED
    )
    assert {"demo-clip", "demo-dino", "demo-sam2"} <= {model.key for model in available.models}
    options = {model.key: dict(model.options) for model in available.models}
    assert options["demo-clip"] == {"model_name": "demo-clip", "model_pretrained": "demo"}
    key = "dinov2_vits14"
    loaded = await served.model.LoadModel(model_pb2.LoadModelRequest(key=key), metadata=AUTHORISED)
    assert loaded.model.loaded_workers == 1
    status = await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
    assert key in {model.key for model in status.workers[0].models}
    unloaded = await served.model.UnloadModel(model_pb2.UnloadModelRequest(key=key), metadata=AUTHORISED)
    assert unloaded.model.loaded_workers == 0
    error = await refusal(served.model.LoadModel(model_pb2.LoadModelRequest(key="nope"), metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.NOT_FOUND


async def test_shutdown_finishes_what_runs_and_refuses_what_is_new(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with asyncio.timeout(60):
        running = start(grace=30.0)
        served = await running.__aenter__()
        call = asyncio.ensure_future(
            served.clip.ExtractFeatures(asking(f"block {gate}".encode()), metadata=AUTHORISED)
        )
        await arrived(gate)
        # The channel is part of what is left, so the answer has to come before it closes.
        leaving = asyncio.create_task(served.gateway.pool.drain(30.0))
        await asyncio.sleep(0)
        error = await refusal(served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        await opened(gate)
        assert (await call).model == "demo-clip"
        await leaving
        await running.__aexit__(None, None, None)
