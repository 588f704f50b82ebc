"""A caller who floods the server, and another whose small questions are all answered before the flood is over."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image

from tests.chaos import floods
from tests.chaos.floods import Flood, Other, channels
from tests.servers import KEY, KEY_OF_OTHERS, Server


def small() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((224, 160), 60).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def flood_of(name: str) -> tuple[Flood, int]:
    """A flood, and how often each of its callers asks. Their deadlines are before those of the other."""
    return {
        "64 pictures of some megabytes": (Flood(name, 64, floods.pictures(4.0)), 1),
        "100 automatic masks": (Flood(name, 100, floods.automatic_masks(small())), 1),
        "a stream of 2,000 questions": (Flood(name, 1, floods.stream(small(), 2000)), 1),
        "300 hasty callers": (Flood(name, 300, floods.hasty(small())), 4),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "64 pictures of some megabytes",
        "100 automatic masks",
        "a stream of 2,000 questions",
        "300 hasty callers",
    ],
)
async def test_the_small_questions_of_another_key_are_answered_before_a_flood_is(
    demo_server: Server, name: str
) -> None:
    flood, rounds = flood_of(name)
    async with channels(demo_server.target, 1) as (channel,):
        other = Other(channel, KEY_OF_OTHERS, small())
        await other.ask()  # models are loaded, and the picture is known
        flooding = asyncio.create_task(flood.run(demo_server.target, KEY, flood.callers, rounds))
        try:
            for _ in range(2):
                await other.ask()
            assert other.failed == []
            assert not flooding.done(), flood.counts
        finally:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
