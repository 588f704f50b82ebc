"""A JSON reply has a limit of its own, which the gateway is told of before the work."""

from __future__ import annotations

import numpy as np
import pytest

from featsvc.codec import arrays
from featsvc.v1 import dino_pb2, sam2_pb2
from tests.rest.fake_gateway import FakeGateway
from tests.rest.shim import PICTURE, Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
LIMIT = 1_000_000


@pytest.mark.parametrize(
    ("family", "path", "fields", "told"),
    [
        ("sam2", "/auto_mask", {}, f"{LIMIT}; masks=float32"),
        ("sam2", "/prompt_mask", {"mask_encoding": "float32"}, f"{LIMIT}; masks=float32"),
        ("sam2", "/prompt_mask", {"mask_encoding": "bits"}, f"{LIMIT}"),
        ("dino", "/extract", {}, f"{LIMIT}"),
        ("clip", "/similarity", {"text": "a"}, f"{LIMIT}"),
    ],
)
async def test_the_gateway_learns_how_large_the_json_may_be(
    ports: Shim, gateway: FakeGateway, family: str, path: str, fields: dict[str, str], told: str
) -> None:
    answer = await ports.post(family, path, {"image": PICTURE, **fields})
    assert answer.status_code == 200, answer.text
    assert gateway.metadata[-1]["featsvc-json"] == told


async def test_bytes_have_no_such_limit(ports: Shim, gateway: FakeGateway) -> None:
    await ports.post("dino", "/extract", {"image": PICTURE}, Accept="application/octet-stream")
    assert "featsvc-json" not in gateway.metadata[-1]


async def test_the_gateway_learns_how_large_the_message_is(ports: Shim, gateway: FakeGateway) -> None:
    await ports.post("dino", "/extract", {"image": PICTURE})
    message = dino_pb2.DinoServiceExtractFeaturesChunkedRequest()
    message.request.CopyFrom(gateway.requests[-1])
    assert gateway.metadata[-1]["featsvc-bytes"] == str(message.ByteSize())


async def test_automatic_masks_come_one_by_one(ports: Shim, gateway: FakeGateway) -> None:
    reply = gateway.replies["Sam2Service/GenerateMasks"]
    assert isinstance(reply, sam2_pb2.GenerateMasksResponse)
    first = reply.masks[0]
    for area in (7, 8):
        other = reply.masks.add()
        other.CopyFrom(first)
        other.area = area
    reply.label_map.CopyFrom(arrays.to_tensor(np.arange(6, dtype=np.uint16).reshape(2, 3)))
    answer = await ports.post("sam2", "/auto_mask", {"image": PICTURE})
    body = answer.json()
    assert body["num_masks"] == len(body["masks"]) == 3
    assert [mask["area"] for mask in body["masks"]] == [first.area, 7, 8]
    assert body["label_map_shape"] == [2, 3]
    assert answer.headers["X-Featsvc-Model"] == "fake"


async def test_masks_that_break_off_are_no_answer(ports: Shim, gateway: FakeGateway) -> None:
    """A summary that counts more masks than came."""
    reply = gateway.replies["Sam2Service/GenerateMasks"]
    assert isinstance(reply, sam2_pb2.GenerateMasksResponse)
    gateway.lost_masks = 1
    answer = await ports.post("sam2", "/auto_mask", {"image": PICTURE})
    assert answer.status_code == 500
