"""Features in pieces: they make up the reply that the unary call gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path

import grpc
import numpy as np

from featsvc.codec.arrays import to_array
from featsvc.server.services.rpcs import CHUNK
from featsvc.v1 import clip_pb2, dino_pb2, image_pb2, model_pb2, tensor_pb2
from tests.server.asking import Request, arrived, asking, gate_at, opened, refusal, violations
from tests.server.conftest import AUTHORISED, Lines, Running

ChunkedRequest = clip_pb2.ClipServiceExtractFeaturesChunkedRequest


def in_pieces(program: bytes) -> clip_pb2.ClipServiceExtractFeaturesChunkedRequest:
    return ChunkedRequest(request=asking(program))


async def pieces_of(
    call: AsyncIterable[clip_pb2.ClipServiceExtractFeaturesChunkedResponse],
) -> list[clip_pb2.ClipServiceExtractFeaturesChunkedResponse]:
    return [message async for message in call]


async def test_pieces_make_up_the_unary_reply(served: Running) -> None:
    unary = await served.clip.ExtractFeatures(asking(b"wide 3"), metadata=AUTHORISED)
    first, *rest = await pieces_of(
        served.clip.ExtractFeaturesChunked(in_pieces(b"wide 3"), metadata=AUTHORISED)
    )
    assert [piece.chunk.offset for piece in rest] == [0, CHUNK, 2 * CHUNK]
    assert {len(piece.chunk.data) for piece in rest} == {CHUNK}
    assert first.reply.features.data == b""
    first.reply.features.data = b"".join(piece.chunk.data for piece in rest)
    assert first.reply == unary
    assert to_array(unary.features).flat[-1] == 3 * (1 << 18) - 1


async def test_the_last_piece_is_as_short_as_it_has_to_be(served: Running) -> None:
    request = dino_pb2.DinoServiceExtractFeaturesRequest(image=image_pb2.Image(content=b"bytes 1048580"))
    asked = dino_pb2.DinoServiceExtractFeaturesChunkedRequest(request=request)
    _, *rest = await pieces_of(served.dino.ExtractFeaturesChunked(asked, metadata=AUTHORISED))
    assert [len(piece.chunk.data) for piece in rest] == [CHUNK, 4]


async def test_a_small_reply_comes_whole_in_one_message(served: Running) -> None:
    for program in (b"say 7", b"bytes 1048576"):
        (only,) = await pieces_of(served.clip.ExtractFeaturesChunked(in_pieces(program), metadata=AUTHORISED))
        assert only.reply == await served.clip.ExtractFeatures(asking(program), metadata=AUTHORISED)


async def test_what_was_rounded_is_told_in_both_forms(served: Running) -> None:
    unary = await served.clip.ExtractFeatures(asking(b"rounded x"), metadata=AUTHORISED)
    assert np.array_equal(to_array(unary.features), np.ones((2, 3, 1)))
    assert unary.features.dtype == tensor_pb2.D_TYPE_BFLOAT16
    assert (unary.rounding.largest_error, unary.rounding.mean_error) == (0.5, 0.25)
    assert to_array(unary.rounding.scale).tolist() == [2.0]
    (only,) = await pieces_of(
        served.clip.ExtractFeaturesChunked(in_pieces(b"rounded x"), metadata=AUTHORISED)
    )
    assert only.reply == unary


async def test_refusals_are_those_of_the_unary_call(served: Running) -> None:
    cases = [
        (asking(b"say 1", load_size=99999), grpc.StatusCode.INVALID_ARGUMENT),
        (Request(), grpc.StatusCode.INVALID_ARGUMENT),
        (asking(b"large"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (asking(b"say 1", model_name="ViT-B-61"), grpc.StatusCode.NOT_FOUND),
        (asking(b"defect"), grpc.StatusCode.INTERNAL),
    ]
    for asked, code in cases:
        unary = await refusal(served.clip.ExtractFeatures(asked, metadata=AUTHORISED))
        chunked = await refusal(
            pieces_of(served.clip.ExtractFeaturesChunked(ChunkedRequest(request=asked), metadata=AUTHORISED))
        )
        assert unary.code() == chunked.code() == code
        if code != grpc.StatusCode.INTERNAL:
            assert unary.details() == chunked.details()
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            assert violations(unary) == violations(chunked)


async def test_a_streaming_call_needs_a_key_too(served: Running) -> None:
    for key in ((), (("authorization", "Bearer wrong"),)):
        error = await refusal(
            pieces_of(served.clip.ExtractFeaturesChunked(in_pieces(b"say 7"), metadata=key))
        )
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "x-request-id" in dict(error.trailing_metadata())


async def test_a_caller_that_leaves_ends_the_writing(served: Running, lines: Lines) -> None:
    call = served.clip.ExtractFeaturesChunked(in_pieces(b"wide 64"), metadata=AUTHORISED)
    await call.read()
    call.cancel()
    line = await lines.get()
    assert (line["method"], line["code"]) == ("/featsvc.v1.ClipService/ExtractFeaturesChunked", "CANCELLED")
    # gRPC's flow control took what fits into its buffers, and no more.
    assert 0 < line["bytes_out"] < 32 * CHUNK


async def test_a_caller_that_leaves_before_the_result_frees_its_place(
    served: Running, tmp_path: Path
) -> None:
    gate = gate_at(tmp_path / "gate")
    call = served.clip.ExtractFeaturesChunked(in_pieces(f"block {gate}".encode()), metadata=AUTHORISED)
    await arrived(gate)
    call.cancel()
    await opened(gate)
    await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
    status = await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
    assert status.queued == 0


async def test_small_calls_are_answered_while_large_replies_are_pulled(served: Running) -> None:
    async def pull() -> int:
        messages = await pieces_of(
            served.clip.ExtractFeaturesChunked(in_pieces(b"wide 64"), metadata=AUTHORISED)
        )
        return len(messages)

    pulls = asyncio.gather(*(pull() for _ in range(2)))
    answered = 0
    while not pulls.done():
        await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
        answered += 1
    assert await pulls == [65, 65]
    assert answered > 2
