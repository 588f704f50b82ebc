"""How long requests may take, and models that cannot be loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from featsvc.errors import InvalidArgument
from featsvc.server.config.devices import engine_options
from featsvc.settings.tree import Settings
from featsvc.v1 import model_pb2
from tests.server.asking import arrived, asking, gate_at, opened, refusal
from tests.server.conftest import AUTHORISED, start


async def test_the_limit_for_callers_without_a_deadline_does_not_cap_those_that_ask_for_longer(
    tmp_path: Path,
) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(request_timeout=0.3) as served:
        block = asking(f"block {gate}".encode())
        patient = asyncio.ensure_future(served.clip.ExtractFeatures(block, metadata=AUTHORISED, timeout=60))
        await arrived(gate)
        error = await refusal(served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "--request-timeout" in error.details()
        assert not patient.done(), "it has waited longer than the other by now"
        await opened(gate)
        await patient


async def test_the_most_that_a_caller_may_ask_for_is_a_setting_of_its_own(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(request_timeout=0.1, max_request_timeout=0.3) as served:
        block = asking(f"block {gate}".encode())
        error = await refusal(served.clip.ExtractFeatures(block, metadata=AUTHORISED, timeout=60))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "0.3 s" in error.details()
        assert "--max-request-timeout" in error.details()


async def test_a_model_that_cannot_be_preloaded_is_told_by_health_and_status() -> None:
    async with start(preload=("ViT-B-16/openai",)) as served:
        await served.gateway.pool.news(0)
        status = await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
        failed = status.workers[0].failed_models
        assert [(model.key, model.family) for model in failed] == [("ViT-B-16/openai", model_pb2.FAMILY_CLIP)]
        assert "ViT-B-16_openai.safetensors" in failed[0].reason
        health = health_pb2_grpc.HealthStub(served.channel)
        states = {
            service: (await health.Check(health_pb2.HealthCheckRequest(service=service))).status
            for service in ("", "featsvc.v1.ClipService", "featsvc.v1.DinoService")
        }
        assert states == {
            "": health_pb2.HealthCheckResponse.SERVING,
            "featsvc.v1.ClipService": health_pb2.HealthCheckResponse.NOT_SERVING,
            "featsvc.v1.DinoService": health_pb2.HealthCheckResponse.SERVING,
        }


def test_a_folder_of_weights_that_is_not_there_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"weights_dir: .*nowhere is no folder \(--weights-dir\)"):
        engine_options(Settings(weights_dir=str(tmp_path / "nowhere")))
    assert engine_options(Settings(weights_dir=str(tmp_path))).weights_dir == str(tmp_path)
