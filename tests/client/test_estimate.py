"""What a call would cost is told by the clients, for every question, and nothing is asked."""

from __future__ import annotations

from typing import Any

import pytest
from featsvc_client import AsyncFeatsvcClient, Estimate, FeatsvcClient, InvalidRequest

from tests.client.test_live import drawn
from tests.servers import KEY, Server

CLIENT: dict[str, Any] = {"api_key": KEY, "timeout": 120}


def test_every_question_of_the_blocking_client_can_be_estimated(demo_server: Server) -> None:
    image = drawn(20)
    with FeatsvcClient(demo_server.target, **CLIENT) as client:
        asked = client.status().requests
        for found in (
            client.estimate(client.clip_features, image, load_size=48),
            client.estimate(client.encode_text, "a red circle"),
            client.estimate(client.similarity, image, ["a", "b"], load_size=48),
            client.estimate(client.encode_image, image),
            client.estimate(client.dino_features, image, load_size=56, priority=3),
            client.estimate(client.generate_masks, image, preset="coarse"),
            client.estimate(client.predict_masks, image, point_coords=[[60, 60]], point_labels=[1]),
            client.estimate(client.embed_image, image),
        ):
            assert isinstance(found, Estimate)
            assert found.cost_s > 0
            assert found.wait_s >= 0
            assert found.basis in ("assumed", "same_model", "alike")
            assert found.model.startswith("demo-")
        assert client.status().requests == asked
        # The client itself asks on as before.
        answer = client.dino_features(image, load_size=56)
        again = client.estimate(client.dino_features, image, load_size=56)
        assert (again.basis, again.model_loaded) == ("alike", True)
        assert again.queue_bytes == len(image)
        assert answer.array.nbytes <= again.answer_bytes < answer.array.nbytes + 100
        packed = len(client.generate_masks(image, preset="coarse")) * 320 * 240 // 8
        found = client.estimate(client.generate_masks, image, preset="coarse")
        assert packed <= found.answer_bytes < 2 * packed


async def test_the_asyncio_client_estimates_too(demo_server: Server) -> None:
    async with AsyncFeatsvcClient(demo_server.target, **CLIENT) as client:
        found = await client.estimate(client.encode_text, "a red circle")
        assert found.cost_s > 0
        with pytest.raises(InvalidRequest, match="asks many questions"):
            await client.estimate(client.stream_dino_features, [drawn(20)])


def test_only_questions_of_the_client_itself_are_estimated(demo_server: Server) -> None:
    with FeatsvcClient(demo_server.target, **CLIENT) as client, FeatsvcClient(demo_server.target) as other:
        with pytest.raises(InvalidRequest, match="load_size"):
            client.estimate(client.clip_features, drawn(20), load_size=0)
        with pytest.raises(InvalidRequest, match="asks no model"):
            client.estimate(client.status)
        with pytest.raises(InvalidRequest, match="asks many questions"):
            client.estimate(client.generate_masks_stream, drawn(20))
        with pytest.raises(InvalidRequest, match="one of this client"):
            client.estimate(other.encode_text, "a")
