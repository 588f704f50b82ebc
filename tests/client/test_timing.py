"""Results say what they have taken, however their answers come."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, InvalidRequest, Timing

from tests.client.conftest import Ask
from tests.client.gateway import answering
from tests.client.samples import TEXTS
from tests.client.streaming import Streamed
from tests.client.test_live import drawn
from tests.servers import KEY, Server

CLIENT: dict[str, Any] = {"api_key": KEY, "timeout": 120}
COARSE: dict[str, Any] = {"points_per_side": 2, "mask_encoding": "coco_rle"}


def check(timing: object) -> None:
    assert isinstance(timing, Timing)
    assert timing.batch_size >= 1
    assert timing.compute_ms > 0
    assert timing.queue_ms > 0
    assert timing.precision == "fp32", "what --precision auto is on a CPU"


def test_a_reply_in_one_message_in_pieces_or_as_masks_says_it(asked: Ask, demo_server: Server) -> None:
    image = drawn(7)

    def ask(method: str, *args: Any, **options: Any) -> Any:
        return asked(demo_server.target, method, *args, client=CLIENT, **options)

    check(ask("encode_text", "a red circle").timing)
    check(ask("similarity", image, "a red circle", load_size=48).timing)
    check(ask("dino_features", image, load_size=56).timing)
    check(ask("embed_image", image).timing)
    check(ask("generate_masks", image, **COARSE).summary.timing)
    (clicked,) = ask("predict_masks", image, point_coords=[[60, 60]], point_labels=[1])
    check(clicked.timing)
    assert "timing" not in repr(clicked), "it would be most of what is shown"


def test_each_answer_of_a_stream_says_it(streamed: Streamed, demo_server: Server) -> None:
    images = [("drawn", drawn(8)), ("broken", b"broken")]
    found = dict(streamed(demo_server.target, "stream_dino_features", images, client=CLIENT, load_size=56))
    check(found["drawn"].timing)
    assert isinstance(found["broken"], InvalidRequest)


def test_masks_one_by_one_end_with_it(demo_server: Server) -> None:
    def last_of_blocking() -> Any:
        with FeatsvcClient(demo_server.target, **CLIENT) as client:
            return list(client.generate_masks_stream(drawn(9), **COARSE))[-1]

    async def last_of_asyncio() -> Any:
        async with AsyncFeatsvcClient(demo_server.target, **CLIENT) as client:
            return [each async for each in client.generate_masks_stream(drawn(9), **COARSE)][-1]

    check(last_of_blocking().timing)
    check(asyncio.run(last_of_asyncio()).timing)


def test_a_reply_of_rest_says_it(demo_server: Server) -> None:
    headers, body = {"Authorization": f"Bearer {KEY}"}, {"text": "a red circle"}
    url = f"{demo_server.url('clip')}/encode_text"
    reply = httpx.post(url, json=body, headers=headers, timeout=120, trust_env=False)
    check(Timing.read(reply.headers["X-Featsvc-Timing"]))


def test_a_server_that_does_not_say_it_is_no_trouble(asked: Ask) -> None:
    with answering(TEXTS) as script:
        assert asked(script.target, "encode_text", "a red circle").timing is None
