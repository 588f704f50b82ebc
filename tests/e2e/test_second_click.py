"""A further question about a picture goes to its worker without the picture, and has the same answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from featsvc.pool.contract.messages import RunBatch
from featsvc.pool.workers.handle import WorkerHandle
from featsvc.server.gateway import gateway
from featsvc.settings.tree import Settings
from featsvc.v1 import image_pb2, sam2_pb2, sam2_pb2_grpc
from tests.e2e.conftest import png
from tests.servers import KEY

NOISE = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)  # which no file makes small
PICTURE = png(NOISE)
AUTHORISED = (("authorization", f"Bearer {KEY}"),)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of the pictures that went to a worker."""
    sizes: list[int] = []
    real: Callable[..., None] = WorkerHandle.send

    def recorded(self: WorkerHandle, message: Any, large: bool = False) -> None:
        if isinstance(message, RunBatch):
            items: list[Any] = [each.item for each in message.items]
            sizes.extend(len(item.image) for item in items)
        real(self, message, large)

    monkeypatch.setattr(WorkerHandle, "send", recorded)
    return sizes


async def test_a_second_click_has_the_same_answer_whether_the_embedding_is_there_or_not(
    sent: list[int],
) -> None:
    settings = Settings(profile="demo", grpc_port=0, devices="cpu")
    prompt = sam2_pb2.Prompt(point_coords=[sam2_pb2.Point(x=150, y=90)], point_labels=[1])
    async with (
        gateway(settings, (KEY,)) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel,
    ):
        await running.pool.alive_change(0)
        service = sam2_pb2_grpc.Sam2ServiceStub(channel)

        async def click(**image: Any) -> sam2_pb2.PredictMasksResponse:
            request = sam2_pb2.PredictMasksRequest(
                image=image_pb2.Image(**image), prompts=[prompt], model={"model_cfg": "demo-sam2"}
            )
            return await service.PredictMasks(request, metadata=AUTHORISED)

        first = await click(content=PICTURE)
        again = [await click(content=PICTURE), await click(digest=first.image_digest)]
        assert sent == [len(PICTURE), 0, 0]
        sent.clear()
        # Kept for each way up by itself, though this file is upright.
        again += [await click(digest=first.image_digest, orientation="ORIENTATION_SHOWN") for _ in range(2)]
        assert sent == [0, len(PICTURE), 0]
    assert [answer.results for answer in again] == [first.results] * 4
