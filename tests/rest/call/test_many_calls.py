"""More requests at once than the gateway takes calls over one connection."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import pytest
from google.protobuf.message import Message

from tests.rest.fake_gateway import KEY, FakeGateway
from tests.rest.shim import Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
MANY = 160


async def test_requests_that_wait_at_the_gateway_leave_room_for_health(
    ports: Shim, gateway: FakeGateway
) -> None:
    asked, opened = asyncio.Semaphore(0), asyncio.Event()

    async def waiting(request: Message, context: grpc.aio.ServicerContext) -> Message:
        asked.release()
        await opened.wait()
        return gateway.replies["ClipService/EncodeText"]

    gateway.answers["ClipService/EncodeText"] = waiting
    headers, limits = {"Authorization": f"Bearer {KEY}"}, httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60) as client:
        url = ports.url("clip", "/encode_text")
        posts = [asyncio.create_task(client.post(url, json={"text": "a"})) for _ in range(MANY)]
        async with asyncio.timeout(60):
            for _ in range(MANY):
                await asked.acquire()
        assert (await client.get(ports.url("clip", "/health"))).json()["status"] == "healthy"
        opened.set()
        assert {answer.status_code for answer in await asyncio.gather(*posts)} == {200}
