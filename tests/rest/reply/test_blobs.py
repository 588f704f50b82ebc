"""Arrays of replies block by block: the same bytes and the same text as in one piece."""

from __future__ import annotations

import base64
import random

import numpy as np
import orjson
import pytest

from featsvc.codec import arrays
from rest_shim.reply import blobs
from rest_shim.reply.blobs import BLOCK_BYTES, Base64
from rest_shim.reply.json_text import JsonText

CHOICES = random.Random(5)
CONTENT = CHOICES.randbytes(4099)


@pytest.mark.parametrize("largest", [1, 2, 3, 5, 100, 4099])
def test_base64_of_blocks_is_that_of_the_whole(largest: int) -> None:
    text, written, start = Base64(), b"", 0
    while start < len(CONTENT):
        end = start + CHOICES.randint(0, largest)
        written += text.of(CONTENT[start:end])
        start = end
    assert written + text.end() == base64.b64encode(CONTENT)


@pytest.mark.parametrize("shape", [(2, 3), (7, 8), (5, 17), (3, 700, 1001), (1, 1), (0, 4)])
def test_bits_become_the_floats_that_they_stand_for(shape: tuple[int, ...]) -> None:
    booleans = np.random.default_rng(3).random(shape) < 0.5
    blob = blobs.floats(arrays.to_bits(booleans))
    made = [bytes(block) for block in blob.made()]
    assert b"".join(made) == booleans.astype("<f4").tobytes()
    assert blob.nbytes == booleans.size * 4
    assert max(map(len, made), default=0) <= BLOCK_BYTES


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint16"])
def test_other_elements_stay_as_they_are(dtype: str) -> None:
    array = np.arange(24).astype(dtype).reshape(2, 12)
    blob = blobs.raw(arrays.to_tensor(array))
    assert b"".join(bytes(block) for block in blob.made()) == array.tobytes()


def test_packed_rows_stay_packed() -> None:
    tensor = arrays.to_bits(np.ones((3, 9), bool))
    assert blobs.raw(tensor).nbytes == 6
    assert b"".join(bytes(block) for block in blobs.raw(tensor).made()) == tensor.data


async def test_the_text_is_the_one_that_orjson_would_write_whole_or_in_pieces() -> None:
    array = np.random.default_rng(1).random((300, 1000), np.float32)
    body = {
        "a": [{"b": blobs.raw(arrays.to_tensor(array)), "c": [1, 2.5, "\0é"]}],
        "d": blobs.whole(b"xy"),
        "e": {},
    }
    encoded = base64.b64encode(array.tobytes()).decode()
    expected = orjson.dumps({"a": [{"b": encoded, "c": [1, 2.5, "\0é"]}], "d": "eHk=", "e": {}})
    text = JsonText(body)
    pieces = [piece async for piece in text.pieces(_none())]
    assert text.whole() == b"".join(pieces) == expected
    assert text.length == len(expected)
    assert text.nbytes == array.nbytes + 2
    assert max(map(len, pieces)) <= BLOCK_BYTES * 4 // 3 + 8


async def _none():  # type: ignore[no-untyped-def]
    return
    yield b""
