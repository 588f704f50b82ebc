"""An admin has a server finish what it has, and end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from featsvc.server.commands.cli import main
from featsvc.v1 import clip_pb2, clip_pb2_grpc, model_pb2
from tests.server.asking import arrived, asking, gate_at, opened, refusal, violations
from tests.server.conftest import AUTHORISED, Running, heard, start
from tests.servers import KEY, running


async def drained(running: Running, **fields: float) -> model_pb2.DrainResponse:
    found: model_pb2.DrainResponse = await running.model.Drain(
        model_pb2.DrainRequest(**fields), metadata=AUTHORISED
    )
    return found


async def test_what_runs_is_answered_and_what_comes_is_refused(tmp_path: Path) -> None:
    async with start(grace=30) as running, heard("featsvc.audit") as lines:
        health = health_pb2_grpc.HealthStub(running.channel)
        gate = gate_at(tmp_path / "gate")
        blocking = asyncio.ensure_future(
            running.clip.ExtractFeatures(asking(b"block " + gate.encode()), metadata=AUTHORISED)
        )
        await arrived(gate)
        watched = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING

        reply = await drained(running)
        assert (reply.open, reply.grace_s) == (1, 30)
        line = await lines.get()
        assert (line["message"], line["caller"], line["code"]) == ("admin act", "key 0", "OK")
        assert line["method"].endswith("/Drain")
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING

        error = await refusal(running.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in error.details()
        status = await running.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
        assert status.draining
        again = await drained(running, grace_s=1)
        assert again.grace_s == 30, "what was said first stands"
        assert not running.gateway.drained.is_set()

        await opened(gate)
        await blocking
        await running.gateway.drained.wait()


async def test_a_stream_is_answered_and_ends(served: Running) -> None:
    call = served.clip.ExtractFeaturesStream(metadata=AUTHORISED)
    await call.write(
        clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id="a", request=asking(b"say 1"))
    )
    assert (await call.read()).request_id == "a"
    assert not (await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).draining
    await drained(served)
    assert (await refusal(call.read())).code() is grpc.StatusCode.UNAVAILABLE


async def test_what_takes_longer_than_its_time_is_given_up(tmp_path: Path) -> None:
    async with start() as running:
        gate = gate_at(tmp_path / "gate")
        blocking = asyncio.ensure_future(
            running.clip.ExtractFeatures(asking(b"block " + gate.encode()), metadata=AUTHORISED)
        )
        await arrived(gate)
        assert (await drained(running, grace_s=0)).grace_s == 0
        assert (await refusal(blocking)).code() is grpc.StatusCode.UNAVAILABLE
        await running.gateway.drained.wait()
        await opened(gate)


async def test_who_reads_no_more_holds_the_end_up_no_longer_than_was_said() -> None:
    async with start(grace=600) as running:
        # Its channel would take the call along when it closes.
        other = grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.port}")
        asked = clip_pb2.ClipServiceExtractFeaturesChunkedRequest(request=asking(b"wide 64"))
        unread = clip_pb2_grpc.ClipServiceStub(other).ExtractFeaturesChunked(asked, metadata=AUTHORISED)
        await unread.read()
        await drained(running, grace_s=0.1)
        await running.gateway.drained.wait()
    await other.close()


@pytest.mark.parametrize("wrong", [-1.0, 86_401.0, float("nan"), float("inf")])
async def test_a_time_that_is_none_is_refused(served: Running, wrong: float) -> None:
    error = await refusal(drained(served, grace_s=wrong))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(violations(error)) == ["grace_s"]


def test_the_command_has_a_server_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path / "log", "serve", "--profile=demo", "--devices=cpu", "--offline") as server:
        assert main(["drain", server.target, "--api-key=wrong"]) == 2
        assert "API key missing or wrong" in capsys.readouterr().err
        assert main(["drain", server.target, f"--api-key={KEY}", "--grace=5"]) == 0
        said = capsys.readouterr().out
        assert f"{server.target} takes no more work" in said
        assert "after 5 s at the latest" in said
        assert server.process.wait(60) == 0
