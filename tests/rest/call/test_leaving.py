"""A caller that leaves stops its work."""

from __future__ import annotations

import asyncio

import pytest

from tests.rest.fake_gateway import KEY, FakeGateway
from tests.rest.shim import PICTURE, Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("family", "path", "method"),
    [
        ("clip", "/extract", "ClipService/ExtractFeatures"),
        ("sam2", "/auto_mask", "Sam2Service/GenerateMasks"),
    ],
)
async def test_a_caller_that_leaves_cancels_the_call(
    ports: Shim, gateway: FakeGateway, family: str, path: str, method: str
) -> None:
    asked, gone = gateway.wait(method)
    calling = asyncio.create_task(ports.post(family, path, {"image": PICTURE}))
    await asyncio.wait_for(asked.wait(), 60)
    calling.cancel()
    await asyncio.wait_for(gone.wait(), 60)
    assert (await ports.client.get(ports.url(family, "/health"))).status_code == 200


async def test_a_caller_that_leaves_within_its_body_leaves_nothing_behind(
    ports: Shim, gateway: FakeGateway
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", ports.ports["clip"])
    head = f"POST /extract HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 1000\r\n\r\n"
    writer.write(head.encode() + b'{"image": "')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await ports.post("clip", "/extract", {"image": PICTURE})).status_code == 200
    assert len(gateway.requests) == 1


async def test_many_callers_are_served_at_once(ports: Shim, gateway: FakeGateway) -> None:
    asked, _ = gateway.wait("ClipService/ExtractFeatures")
    waiting = asyncio.create_task(ports.post("clip", "/extract", {"image": PICTURE}))
    await asyncio.wait_for(asked.wait(), 60)
    others = await asyncio.gather(*(ports.post("dino", "/extract", {"image": PICTURE}) for _ in range(16)))
    assert [each.status_code for each in others] == [200] * 16
    assert not waiting.done()
    waiting.cancel()
