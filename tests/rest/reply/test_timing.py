"""The header that says what an answer has taken: the gateway's words, and what the port has taken itself."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from featsvc.codec.timing import HEADER, WANTED, Timing
from tests.rest.fake_gateway import FakeGateway
from tests.rest.shim import PICTURE, Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
TOLD = Timing(1.0, 2.0, 3.0, 0.5, 4, "bf16")
PATHS = [
    ("clip", "/encode_text", {"text": "a"}, "ClipService/EncodeText"),
    ("clip", "/extract", {"image": PICTURE}, "ClipService/ExtractFeatures"),
    ("sam2", "/auto_mask", {"image": PICTURE}, "Sam2Service/GenerateMasks"),
]


@pytest.mark.parametrize(("family", "path", "body", "name"), PATHS, ids=lambda each: str(each)[:16])
async def test_a_reply_says_what_the_gateway_says_and_its_own_writing(
    ports: Shim, gateway: FakeGateway, family: str, path: str, body: Any, name: str
) -> None:
    async def timed(request: Message, context: grpc.aio.ServicerContext) -> Message:
        metadata = ((HEADER, TOLD.written()),)
        if "text" in body:
            context.set_trailing_metadata(metadata)
        else:
            await context.send_initial_metadata(metadata)
        return gateway.replies[name]

    gateway.answers[name] = timed
    response = await ports.post(family, path, body)
    assert response.status_code == 200
    timing = Timing.read(response.headers["X-Featsvc-Timing"])
    assert timing is not None
    assert timing.encoded_in(-timing.encode_ms) == TOLD.encoded_in(-TOLD.encode_ms)
    assert timing.encode_ms >= TOLD.encode_ms
    assert gateway.metadata[-1][HEADER] == WANTED


@pytest.mark.parametrize(("family", "path", "body", "name"), PATHS, ids=lambda each: str(each)[:16])
async def test_a_gateway_that_says_nothing_is_answered_for_without_it(
    ports: Shim, gateway: FakeGateway, family: str, path: str, body: Any, name: str
) -> None:
    response = await ports.post(family, path, body)
    assert response.status_code == 200
    assert "X-Featsvc-Timing" not in response.headers
