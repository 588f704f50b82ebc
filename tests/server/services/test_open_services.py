"""What is answered without a key: health, reflection, and the server's state."""

from __future__ import annotations

import asyncio
import os
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from featsvc.v1 import model_pb2
from tests.chaos.frames import Connection
from tests.server.asking import refusal
from tests.server.conftest import AUTHORISED, Running, start


async def test_health_reflection_and_status_need_no_key(served: Running) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    for service in (
        "",
        "featsvc.v1.ClipService",
        "featsvc.v1.DinoService",
        "featsvc.v1.Sam2Service",
        "featsvc.v1.ObjectService",
    ):
        reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    async for reply in stub.ServerReflectionInfo(iter([asked])):
        names = {service.name for service in reply.list_services_response.service}
    assert names == {
        "featsvc.v1.ClipService",
        "featsvc.v1.DinoService",
        "featsvc.v1.Sam2Service",
        "featsvc.v1.ObjectService",
        "featsvc.v1.EstimateService",
        "featsvc.v1.ImageService",
        "featsvc.v1.ModelService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    status = await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
    told = [(worker.device, worker.state, worker.precision) for worker in status.workers]
    assert told == [("cpu", "ready", "fp32")]
    error = await refusal(served.model.ListModels(model_pb2.ListModelsRequest()))
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_health_tells_when_the_last_worker_is_lost() -> None:
    async with start() as served:
        health = health_pb2_grpc.HealthStub(served.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="featsvc.v1.ClipService"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        worker = (await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).workers[0]
        os.kill(worker.pid, signal.SIGKILL)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


async def test_watchers_of_health_do_not_hold_up_the_end_of_the_server() -> None:
    async with asyncio.timeout(30), start(grace=60.0) as served:
        health = health_pb2_grpc.HealthStub(served.channel)
        for service in ("", "no.such.Service"):
            assert await health.Watch(health_pb2.HealthCheckRequest(service=service)).read()
        # A call that never says anything does not either.
        async with Connection(served.gateway.port) as silent:
            silent.call("/featsvc.v1.ClipService/EncodeText", AUTHORISED)
            # Over the same connection, so that the server has the silent one by now.
            await silent.until_ended(silent.call("/featsvc.v1.ClipService/EncodeText"))


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_reflection_finds_files_by_services_methods_messages_and_names(
    served: Running, package: str
) -> None:
    ask = served.channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    symbols = (
        "featsvc.v1.ClipService",
        "featsvc.v1.ClipService.EncodeText",
        "featsvc.v1.EncodeTextRequest",
        "grpc.health.v1.Health.Check",
        f"{package}.ServerReflection.ServerReflectionInfo",
    )
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in symbols]
    asked += [reflection_pb2.ServerReflectionRequest(file_by_filename="featsvc/v1/clip.proto")]
    async for reply in ask(iter(asked)):
        assert reply.file_descriptor_response.file_descriptor_proto, reply
    wrong = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="featsvc.v1.ClipService.Nothing"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="nothing.proto"),
        reflection_pb2.ServerReflectionRequest(),
    ]
    codes = [reply.error_response.error_code async for reply in ask(iter(wrong))]
    assert codes == [5, 5, 3]
