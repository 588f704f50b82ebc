"""One text has no axis of texts, a list of them has one: `features @ text` works."""

from __future__ import annotations

import json

import numpy as np
import pytest

from featsvc.codec import arrays
from featsvc.v1 import clip_pb2
from tests.rest.fake_gateway import FEATURES, FakeGateway
from tests.rest.shim import PICTURE, Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
OCTETS, NPY = "application/octet-stream", "application/x-npy"
ROWS = np.eye(2, 3, dtype=np.float32)
MAPS = np.stack([FEATURES[..., 0], FEATURES[..., 1]])


def answers(gateway: FakeGateway, texts: int) -> None:
    """What a real gateway answers about so many texts: a map of one has no axis of texts."""
    maps = MAPS[0] if texts == 1 else MAPS[:texts]
    gateway.replies["ClipService/EncodeText"] = clip_pb2.EncodeTextResponse(
        text_embedding=arrays.to_tensor(ROWS[:texts])
    )
    gateway.replies["ClipService/ComputeSimilarity"] = clip_pb2.ComputeSimilarityResponse(
        similarity_map=arrays.to_tensor(maps)
    )


@pytest.mark.parametrize(
    ("text", "embedding", "similarity"),
    [("a", [3], [2, 3]), (["a"], [1, 3], [1, 2, 3]), (["a", "b"], [2, 3], [2, 2, 3])],
    ids=["one", "list of one", "list of two"],
)
@pytest.mark.parametrize("accept", ["application/json", OCTETS, NPY])
async def test_the_shape_is_that_of_what_was_given(
    ports: Shim, gateway: FakeGateway, text: object, embedding: list[int], similarity: list[int], accept: str
) -> None:
    answers(gateway, 1 if isinstance(text, str) else len(text))  # type: ignore[arg-type]  # a list otherwise
    for path, given, shape in (
        ("/encode_text", {"text": text}, embedding),
        ("/similarity", {"text": text, "image": PICTURE}, similarity),
    ):
        response = await ports.post("clip", path, given, Accept=accept)
        if accept == "application/json":
            assert response.json()["shape"] == shape
        else:
            assert json.loads(response.headers["x-featsvc-shape"]) == shape
        if accept == NPY:
            assert f"{tuple(shape)}" in response.content[:128].decode("latin-1")
