"""What an operation needs: its rpc, a line in the table, its engine and its form in JSON, here of a made-up one."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import numpy as np
import pytest
from featsvc_client import AsyncFeatsvcClient, calls
from featsvc_client.operations import Rpc as ClientOperation
from featsvc_client.results import floats
from featsvc_client.terms import Terms
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from pydantic import BaseModel

from featsvc.codec.arrays import to_array
from featsvc.server.gateway import gateway
from featsvc.settings.tree import Settings
from featsvc.v1 import clip_pb2, image_pb2, schema
from featsvc.work.operations import OPERATIONS
from rest_shim.app import endpoints
from rest_shim.app.endpoints import Endpoint
from tests.e2e import made_up
from tests.e2e.made_up import MEAN_COLOUR, registered
from tests.rest.shim import Shim, shim

KEY = "a-key-of-the-tests"
COLOURS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
MEAN = COLOURS.astype(np.float32).mean(axis=(0, 1))


class Reply(BaseModel):
    """The form of the reply in JSON."""

    colour: str
    shape: list[int]
    pixels: int


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def reply() -> type[Message]:
    return registered()


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """Where a gateway with a worker answers this too."""
    settings = Settings(profile="demo", grpc_port=0, devices="cpu", offline=True)
    build = "tests.e2e.made_up_engines:build"
    async with gateway(settings, (KEY,), build, operations=(*OPERATIONS, MEAN_COLOUR)) as running:
        await running.pool.alive_change(0)
        yield f"127.0.0.1:{running.port}"


async def test_an_operation_is_served_by_its_line_in_the_table(
    reply: type[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    for twin in (made_up.MeanColourChunkedRequest, made_up.MeanColourStreamRequest):
        monkeypatch.setattr(schema, twin.__name__, twin, raising=False)
    endpoint = Endpoint("/mean_colour", "The mean colour", MEAN_COLOUR, Reply)
    port = endpoints.FAMILIES["clip"]
    monkeypatch.setitem(endpoints.FAMILIES, "clip", replace(port, endpoints=(*port.endpoints, endpoint)))
    async with served() as target:
        await _asked_over_grpc(target, reply)
        async with shim(target) as ports:
            await _asked_over_rest(ports)
        await _asked_by_the_client(target)


async def _asked_over_grpc(target: str, reply: type[Message]) -> None:
    key = (("authorization", f"Bearer {KEY}"),)
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary(
            MEAN_COLOUR.rpc, clip_pb2.EncodeImageRequest.SerializeToString, reply.FromString
        )
        answer = await call(
            clip_pb2.EncodeImageRequest(image=image_pb2.Image(content=picture())), metadata=key
        )
        assert np.allclose(to_array(answer.colour), MEAN)
        assert (answer.pixels, answer.model) == (24, "demo-clip")
        assert answer.image_digest.startswith("sha256:")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(clip_pb2.EncodeImageRequest(), metadata=key)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        health = health_pb2_grpc.HealthStub(channel)
        state = await health.Check(health_pb2.HealthCheckRequest(service=MEAN_COLOUR.service))
        assert state.status == health_pb2.HealthCheckResponse.SERVING


async def _asked_over_rest(ports: Shim) -> None:
    body = {"image": base64.b64encode(picture()).decode()}
    key = {"Authorization": f"Bearer {KEY}"}
    answer = await ports.client.post(ports.url("clip", "/mean_colour"), json=body, headers=key)
    assert answer.status_code == 200, answer.text
    found = Reply.model_validate(answer.json())
    assert np.allclose(np.frombuffer(base64.b64decode(found.colour), np.float32), MEAN)
    assert (found.shape, found.pixels, answer.headers["X-Featsvc-Model"]) == ([3], 24, "demo-clip")
    refused = await ports.client.post(ports.url("clip", "/mean_colour"), json=body | {"load": 1}, headers=key)
    assert refused.status_code == 422
    document = (await ports.client.get(ports.url("clip", "/openapi.json"))).json()
    assert "/mean_colour" in document["paths"]


async def _asked_by_the_client(target: str) -> None:
    operation = ClientOperation(MEAN_COLOUR.rpc, lambda answer, _: floats(answer.colour))
    async with AsyncFeatsvcClient(target, api_key=KEY) as client:
        found = await client._answer(Terms(), calls.about_picture, operation, Image.fromarray(COLOURS), {})
    assert np.allclose(found, MEAN)
