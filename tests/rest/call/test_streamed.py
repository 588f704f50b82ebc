"""Large replies: chunk by chunk from the gateway to the caller, no faster than that one reads."""

from __future__ import annotations

import asyncio
import base64
import io

import grpc
import numpy as np
import orjson
import pytest

from featsvc.codec import arrays
from featsvc.v1 import clip_pb2
from tests.rest.fake_gateway import CHUNK, KEY, FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
OCTETS, NPY = "application/octet-stream", "application/x-npy"
EXTRACT = "ClipService/ExtractFeatures"
# Neither a multiple of a chunk nor, in bytes, of three.
LARGE = np.random.default_rng(2).random((7, 131, 1009), np.float32)


def large(array: np.ndarray = LARGE) -> clip_pb2.ClipServiceExtractFeaturesResponse:
    return clip_pb2.ClipServiceExtractFeaturesResponse(features=arrays.to_tensor(array), model="fake")


def request(accept: str = OCTETS) -> bytes:
    body = orjson.dumps({"image": PICTURE})
    head = (
        f"POST /extract HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nAccept: {accept}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.fixture
def roomy() -> dict[str, object]:
    return {"max_json_bytes": 1 << 30}


async def test_a_large_reply_is_the_same_in_every_form(
    gateway: FakeGateway, roomy: dict[str, object]
) -> None:
    gateway.replies[EXTRACT] = large()
    async with shim(gateway.target, **roomy) as ports:
        octets = await ports.post("clip", "/extract", {"image": PICTURE}, Accept=OCTETS)
        npy = await ports.post("clip", "/extract", {"image": PICTURE}, Accept=NPY)
        text = await ports.post("clip", "/extract", {"image": PICTURE})
    assert octets.content == LARGE.tobytes()
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.content)), LARGE)
    encoded = base64.b64encode(LARGE.tobytes()).decode()
    assert text.content == orjson.dumps({"features": encoded, "shape": list(LARGE.shape), "is_pca": False})
    for each in (octets, npy, text):
        assert each.headers["content-length"] == str(len(each.content))
        assert "transfer-encoding" not in each.headers
    assert gateway.chunk_ends == [True] * 3


async def test_a_reply_of_one_message_is_a_call_that_ends(ports: Shim, gateway: FakeGateway) -> None:
    assert (await ports.post("clip", "/extract", {"image": PICTURE})).status_code == 200
    assert gateway.chunk_ends == [True]


async def test_many_large_masks_are_the_text_that_they_would_be_in_one_piece(
    gateway: FakeGateway, roomy: dict[str, object]
) -> None:
    bitmaps = np.random.default_rng(4).random((5, 301, 403)) < 0.3
    reply = gateway.replies["Sam2Service/GenerateMasks"]
    mask = reply.masks[0]
    del reply.masks[:]
    for each in bitmaps:
        mask.bitmap.CopyFrom(arrays.to_bits(each))
        reply.masks.append(mask)
    async with shim(gateway.target, **roomy) as ports:
        response = await ports.post("sam2", "/auto_mask", {"image": PICTURE})
    body = response.json()
    assert len(response.content) == int(response.headers["content-length"]) > 3_000_000
    for found, expected in zip(body["masks"], bitmaps, strict=True):
        assert base64.b64decode(found["segmentation"]) == expected.astype("<f4").tobytes()


async def test_json_over_the_limit_is_refused_and_bytes_are_not(ports: Shim, gateway: FakeGateway) -> None:
    gateway.replies[EXTRACT] = large()
    refused = await ports.post("clip", "/extract", {"image": PICTURE})
    assert refused.status_code == 413
    assert str(LARGE.nbytes) in refused.json()["detail"]
    assert OCTETS in refused.json()["detail"]
    assert (await ports.post("clip", "/extract", {"image": PICTURE}, Accept=OCTETS)).status_code == 200


async def test_a_caller_that_leaves_in_the_middle_of_a_raw_reply_cancels_the_call(
    ports: Shim, gateway: FakeGateway
) -> None:
    gateway.replies[EXTRACT] = large()
    waits, gone = asyncio.Event(), asyncio.Event()

    async def wait(number: int) -> None:
        if number == 3:
            waits.set()
            try:
                await asyncio.Event().wait()
            finally:
                gone.set()

    gateway.before_chunk = wait
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.ports["clip"])
    writer.write(request())
    head = await reader.readuntil(b"\r\n\r\n")
    assert f"content-length: {LARGE.nbytes}".encode() in head.lower()
    assert await reader.readexactly(2 * CHUNK) == LARGE.tobytes()[: 2 * CHUNK]
    await asyncio.wait_for(waits.wait(), 60)
    writer.close()
    await asyncio.wait_for(gone.wait(), 60)
    gateway.before_chunk = None
    assert (await ports.post("clip", "/extract", {"image": PICTURE}, Accept=OCTETS)).status_code == 200


@pytest.mark.parametrize("accept", [OCTETS, "application/json"])
async def test_a_reply_that_breaks_off_never_looks_whole(
    gateway: FakeGateway, roomy: dict[str, object], accept: str
) -> None:
    gateway.replies[EXTRACT] = large()

    async def fail(number: int) -> None:
        if number == 2:
            raise grpc.aio.AbortError

    gateway.before_chunk = fail
    async with shim(gateway.target, **roomy) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.ports["clip"])
        writer.write(request(accept))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        with pytest.raises(asyncio.IncompleteReadError):
            await asyncio.wait_for(reader.readexactly(LARGE.nbytes), 60)
        writer.close()
        gateway.before_chunk = None
        assert (await ports.post("clip", "/extract", {"image": PICTURE}, Accept=accept)).status_code == 200


async def test_a_caller_that_does_not_read_makes_the_gateway_wait() -> None:
    whole = np.zeros((64, CHUNK), np.uint8).view(np.float32)
    reached = 0

    async def count(number: int) -> None:
        nonlocal reached
        reached = number

    async with fake_gateway() as fake, shim(fake.target) as ports:
        fake.replies[EXTRACT] = large(whole)
        fake.before_chunk = count
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.ports["clip"], limit=2**16)
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        # Other calls are answered meanwhile, and the 64 chunks do not all come.
        for _ in range(200):
            assert (await ports.post("dino", "/extract", {"image": PICTURE})).status_code == 200
        assert 0 < reached < 60
        assert len(await reader.readexactly(whole.nbytes)) == whole.nbytes
        assert reached == 64
        writer.close()
