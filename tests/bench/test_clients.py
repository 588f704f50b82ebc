"""What the load generator sends and reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
import pytest

from featsvc.v1 import clip_pb2
from tests.bench import load
from tests.bench.http_wire import Connection, Refused, request_bytes
from tests.bench.questions import QUESTIONS, grpc_bytes, image_of, json_bytes
from tests.servers import KEY, Server

ARGS = {"model": "demo-clip"}


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[str]:
    """The address of a server that answers every request with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # the client is done
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(2)
                writer.write(reply)
        writer.close()
        gone.set()

    gone = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await gone.wait()


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    ],
)
async def test_the_client_reads_replies_of_known_length_and_in_chunks_one_after_the_other(
    reply: bytes,
) -> None:
    async with answering(reply) as url:
        connection = await Connection.to(url)
        sizes = [await connection.post(request_bytes("host", "/", b"{}", {})) for _ in range(3)]
        await connection.close()
    assert sizes == [5, 5, 5]


async def test_another_status_than_200_ends_a_measurement() -> None:
    async with answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy") as url:
        connection = await Connection.to(url)
        with pytest.raises(Refused, match="503"):
            await connection.post(request_bytes("host", "/", b"{}", {}))
        await connection.close()


def test_no_two_texts_are_alike_so_that_no_cache_answers_them() -> None:
    texts = {
        clip_pb2.EncodeTextRequest.FromString(grpc_bytes("text", index, ARGS)).texts.text[0]
        for index in range(3000)
    }
    assert len(texts) == 3000


def test_both_wires_ask_the_same_question() -> None:
    message = clip_pb2.EncodeTextRequest.FromString(grpc_bytes("text", 7, ARGS))
    assert orjson.loads(json_bytes("text", 7, ARGS))["text"] == message.texts.text[0]


@pytest.mark.parametrize("kind", ["text", "embed", "dense"])
@pytest.mark.parametrize("wire", ["grpc", "http"])
async def test_a_server_answers_every_question_of_a_run(demo_server: Server, kind: str, wire: str) -> None:
    where = {"target": demo_server.target} if wire == "grpc" else {"url": demo_server.url("clip")}
    answer = await asyncio.to_thread(
        load.run, **where, key=KEY, ask=kind, args={**ARGS, "side": 192}, clients=3, count=10, distinct=4
    )
    assert len(answer["latencies"]) == 10
    assert answer["bytes_in"] > 10 * 100
    assert answer["rate"] > 0


def test_every_kind_of_question_has_a_path_of_the_documented_api() -> None:
    assert {each.path for each in QUESTIONS.values()} <= {
        "/extract", "/encode_text", "/encode_image", "/prompt_mask", "/auto_mask",
    }  # fmt: skip


def test_pictures_of_one_seed_are_the_same_bytes_and_of_two_seeds_are_not() -> None:
    args = {"width": 64, "height": 48}
    assert image_of(3, args) == image_of(3, args) != image_of(4, args)
