"""A request that takes minutes, within all limits, holds up nobody, and ends with its caller."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import grpc
import pytest
from featsvc_client import FeatsvcClient, errors
from PIL import Image

from featsvc.v1 import dino_pb2, dino_pb2_grpc, image_pb2
from tests.servers import KEY, Server

# What is wanted is 2 s on a machine that does nothing else; without pauses it is minutes.
SOON_S = 20.0


def column() -> bytes:
    """A picture of 1 x 917,490 pixels in 2 kB: 65,536 cells of demo-dino."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 917_490), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def client(demo_server: Server) -> Iterator[FeatsvcClient]:
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=SOON_S) as client:
        yield client


@pytest.mark.parametrize("count", [1, 3])
def test_texts_and_clicks_are_answered_beside_pictures_that_take_minutes(
    demo_server: Server, client: FeatsvcClient, picture: bytes, count: int
) -> None:
    # What the others ask about is known, as in any use but the first.
    client.encode_text(["a red circle"])
    client.predict_masks(picture, point_coords=[[50, 60]], point_labels=[1])
    request = dino_pb2.DinoServiceExtractFeaturesRequest(image=image_pb2.Image(content=column()))
    with grpc.insecure_channel(demo_server.target) as channel:
        stub = dino_pb2_grpc.DinoServiceStub(channel)
        metadata = (("authorization", f"Bearer {KEY}"),)
        long = [stub.ExtractFeatures.future(request, metadata=metadata, timeout=170) for _ in range(count)]
        slowest = 0.0
        for number in range(8):
            began = time.monotonic()
            client.encode_text([f"a red circle {number}"])
            client.predict_masks(picture, point_coords=[[50, 60 + number]], point_labels=[1])
            slowest = max(slowest, time.monotonic() - began)
        # Each of these calls had SOON_S; the long ones are at work all the time.
        assert not any(call.done() for call in long), [call.details() for call in long if call.done()]
        print(f"slowest text and click together: {slowest:.2f} s")
        for call in long:
            call.cancel()
    # Another picture of the same service need not wait for what nobody waits for.
    client.dino_features(picture)


def test_a_stride_of_one_pixel_ends_with_its_caller(demo_server: Server, client: FeatsvcClient) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((256, 256), 90).convert("RGB").save(buffer, "PNG")
    with (
        FeatsvcClient(demo_server.target, api_key=KEY, timeout=3.0) as hasty,
        pytest.raises(errors.DeadlineExceeded),
    ):
        hasty.dino_features(buffer.getvalue(), stride=1)
    client.dino_features(buffer.getvalue())
