"""What a port refuses by itself is counted, and told to the gateway, which shows metrics."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from google.protobuf.message import Message

from featsvc.codec import shim_headers
from tests.rest.fake_gateway import default_replies, fake_gateway
from tests.rest.shim import shim

STATUS = "ModelService/GetStatus"


@pytest.mark.asyncio(loop_scope="session")
async def test_refusals_of_a_port_are_told_until_they_are_heard_and_those_of_the_gateway_are_not() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    is_there = asyncio.Event()

    async def status(_: Message, context: grpc.aio.ServicerContext) -> Message:
        metadata = dict(context.invocation_metadata())
        if text := metadata.get(shim_headers.REFUSED, ""):
            assert metadata["authorization"] == "Bearer for-the-state"
            told.put_nowait(text)
            if not is_there.is_set():
                await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return default_replies()[STATUS]

    async with fake_gateway() as fake, shim(fake.target, status_key="for-the-state") as ports:
        fake.answers[STATUS] = status
        fake.fail("ClipService/EncodeText", grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        assert (await ports.post("clip", "/encode_text", {"text": "a"})).status_code == 429
        assert (await ports.post("clip", "/encode_text", {})).status_code == 422
        assert (await ports.post("sam2", "/nowhere", {})).status_code == 404
        unheard = shim_headers.refusals(await told.get())
        is_there.set()
        heard = Counter[tuple[str, int]]()
        while heard.total() < 2:
            heard.update(shim_headers.refusals(await told.get()))
        assert unheard.items() <= heard.items() == {("clip", 422): 1, ("sam2", 404): 1}.items()


def test_counts_are_read_as_they_are_written_and_nothing_else_is() -> None:
    counts = {("clip", 422): 3, ("sam2", 503): 1}
    assert shim_headers.refusals(shim_headers.refusals_text(counts)) == counts
    for wrong in ("", "clip", "clip 200 1", "clip 404 x", "a b 404 1", "clip 404 -1", "clip 404 " + "9" * 10):
        assert shim_headers.refusals(wrong) == {}
