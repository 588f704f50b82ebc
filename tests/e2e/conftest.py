"""One server, one drawn picture, two transports."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from featsvc_client import FeatsvcClient, rest
from numpy.typing import NDArray
from PIL import Image

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Scene, SceneOptions, draw
from tests.e2e.transports import Grpc, Rest, Transport
from tests.servers import KEY, Server

HEIGHT, WIDTH = 192, 256


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An encoded file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A drawn scene that no training has seen, with three objects that do not share a colour."""
    return draw(HELD_OUT_SEED + 7, SceneOptions(min_objects=3, max_objects=3, min_scale=0.3, max_scale=0.4))


@pytest.fixture(scope="session")
def picture(scene: Scene) -> bytes:
    """A PNG of 192 x 256 pixels: not square, and no multiple of every patch size."""
    return png(scene.image[:HEIGHT])


@pytest.fixture(scope="session")
def other_picture(scene: Scene) -> bytes:
    """Another one, of another size."""
    return png(scene.image[HEIGHT // 2 :, : WIDTH // 2])


@pytest.fixture(scope="session")
def over_rest(demo_server: Server) -> Iterator[Rest]:
    """The documented functions, at the server of the tests."""
    yield Rest(demo_server)
    rest.POOLS.close()


@pytest.fixture(scope="session")
def over_grpc(demo_server: Server) -> Iterator[Grpc]:
    """The gRPC client, at the server of the tests."""
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        yield Grpc(client)


@pytest.fixture(params=["rest", "grpc"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """Each transport in turn."""
    found: Transport = request.getfixturevalue(f"over_{request.param}")
    return found
