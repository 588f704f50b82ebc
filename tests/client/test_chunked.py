"""Features that come in pieces: what is asked, how the array is filled, and what happens when a piece is missing."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, errors
from featsvc_client.chunks import Chunk, Pieces

from featsvc.codec.arrays import to_tensor
from featsvc.v1 import clip_pb2, dino_pb2, tensor_pb2
from tests.client.conftest import QUICK, Ask
from tests.client.gateway import Refusal, answering
from tests.client.samples import PICTURE

Reply = clip_pb2.ClipServiceExtractFeaturesResponse
Part = clip_pb2.ClipServiceExtractFeaturesChunkedResponse
MIB = 1 << 20
LARGE = np.random.default_rng(3).random((700, 300, 3), np.float32)  # 2.5 MB
DATA = LARGE.tobytes()
FIRST = Part(reply=Reply(features=tensor_pb2.Tensor(dtype=1, shape=LARGE.shape), model="m"))


def chunk(offset: int, end: int | None = None) -> Part:
    data = DATA[offset : offset + MIB if end is None else end]
    return Part(chunk=tensor_pb2.TensorChunk(offset=offset, data=data))


PARTS = [FIRST, *(chunk(offset) for offset in range(0, len(DATA), MIB))]


def test_a_large_answer_fills_one_array(asked: Ask) -> None:
    with answering(PARTS) as script:
        features = asked(script.target, "clip_features", PICTURE, load_size=None)
    np.testing.assert_array_equal(features.array, LARGE)
    assert features.array.base is not None, "a view of what was filled, no copy of it"
    assert not features.array.flags.writeable
    assert features.model == "m"
    assert script.paths == ["ExtractFeaturesChunked"]
    question = script.requests[0]
    assert (question.image.content, question.params.load_size) == (PICTURE, -1)


@pytest.mark.parametrize(("method", "kind"), [("clip_features", clip_pb2), ("dino_features", dino_pb2)])
def test_a_small_answer_is_the_first_message(asked: Ask, method: str, kind: Any) -> None:
    reply = getattr(kind, f"{method[:4].title()}ServiceExtractFeaturesResponse")
    small = LARGE[:2, :2]
    with answering(reply(features=to_tensor(small))) as script:
        features = asked(script.target, method, PICTURE)
    np.testing.assert_array_equal(features.array, small)
    assert script.paths == ["ExtractFeaturesChunked"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([FIRST, chunk(0)], f"ended after {MIB} of {len(DATA)} bytes"),
        ([FIRST, chunk(0), chunk(2 * MIB)], f"where {MIB} to {len(DATA)} were due"),
        ([FIRST, chunk(0), chunk(0)], f"bytes 0 to {MIB} came"),
        ([*PARTS, chunk(len(DATA), None), PARTS[-1]], "were due"),
        ([chunk(0)], "belongs to no tensor"),
        ([FIRST, FIRST], "began twice"),
        ([Part(reply=Reply(features=tensor_pb2.Tensor(dtype=77, shape=[1])))], "no known element type"),
    ],
)
def test_pieces_that_do_not_fit_are_a_server_error(asked: Ask, parts: list[Part], words: str) -> None:
    with answering(parts) as script, pytest.raises(errors.ServerError, match=words):
        asked(script.target, "clip_features", PICTURE)
    assert len(script.requests) == 1


def test_an_answer_that_breaks_off_is_asked_for_again(asked: Ask) -> None:
    broken = [*PARTS[:2], Refusal(grpc.StatusCode.UNAVAILABLE, "worker lost")]
    with answering(broken, broken, PARTS) as script:
        features = asked(script.target, "clip_features", PICTURE)
    np.testing.assert_array_equal(features.array, LARGE)
    assert len(script.requests) == 3


def test_an_answer_that_always_breaks_off_is_unavailable(asked: Ask) -> None:
    broken = [*PARTS[:2], Refusal(grpc.StatusCode.UNAVAILABLE, "worker lost")]
    with answering(broken) as script, pytest.raises(errors.Unavailable, match="worker lost"):
        asked(script.target, "clip_features", PICTURE)
    assert len(script.requests) == QUICK.attempts


def test_a_server_without_pieces_is_asked_once_for_them_then_never_again() -> None:
    reply = Reply(features=to_tensor(LARGE))
    with (
        answering(reply, lacking=("Chunked",)) as script,
        FeatsvcClient(script.target, retry=QUICK) as client,
    ):
        for _ in range(2):
            np.testing.assert_array_equal(client.clip_features(PICTURE).array, LARGE)
    assert script.lacked == ["ExtractFeaturesChunked"]
    assert script.paths == ["ExtractFeatures"] * 2


async def test_the_asyncio_client_too_does_without_pieces() -> None:
    with answering(Reply(features=to_tensor(LARGE)), lacking=("Chunked",)) as script:
        async with AsyncFeatsvcClient(script.target) as client:
            np.testing.assert_array_equal((await client.clip_features(PICTURE)).array, LARGE)
    assert script.paths == ["ExtractFeatures"]


@pytest.mark.parametrize("offset", [0, 1, 127, 128, MIB, 3 << 33])
@pytest.mark.parametrize("size", [1, 5, 200, 70_000])
def test_a_chunk_is_read_without_protobuf_as_protobuf_reads_it(offset: int, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    part = Part(chunk=tensor_pb2.TensorChunk(offset=offset, data=data[:size]))
    message = part.SerializeToString()
    read = Pieces(Part).decode(message)
    assert isinstance(read, Chunk)
    assert (read.offset, bytes(read.data)) == (offset, data[:size])
    assert read.data.obj is message, "no copy"


def test_a_chunk_in_another_order_or_with_more_fields_is_read_by_protobuf() -> None:
    ordered = tensor_pb2.TensorChunk(offset=7, data=b"abc").SerializeToString()
    offset, data = ordered[:2], ordered[2:]
    for inside in (data + offset, ordered + b"\x50\x01"):
        read = Pieces(Part).decode(b"\x12" + bytes([len(inside)]) + inside)
        assert (read.offset, bytes(read.data)) == (7, b"abc")
    assert bytes(Pieces(Part).decode(Part(chunk={}).SerializeToString()).data) == b""
