"""A JSON reply whose blobs are written as base64 when their turn comes: it is never held whole where it is large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

import orjson

from rest_shim.reply.blobs import Base64, Blob, base64, base64_length

# JSON never holds this byte itself, so that it marks the places of blobs without doubt.
HOLE = b"\0"


class JsonText:
    """The text of a reply: its length is known before it is written."""

    def __init__(self, body: Mapping[str, object]) -> None:
        self._blobs: list[Blob] = []
        self._between = _with_holes(body, self._hole)
        self.nbytes = sum(blob.nbytes for blob in self._blobs)
        """Bytes of all blobs, before base64."""
        self.comes_over_call = any(blob.blocks is None for blob in self._blobs)
        self.length = sum(map(len, self._between)) + sum(
            base64_length(blob.nbytes) + len('""') for blob in self._blobs
        )

    def whole(self) -> bytes:
        """The text in one piece, where no blob comes over the call."""
        return (
            b"".join(
                part
                for between, blob in zip(self._between, self._blobs, strict=False)
                for part in (between, b'"', *base64(blob), b'"')
            )
            + self._between[-1]
        )

    async def pieces(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The text piece by piece; the blob that comes over the call is made of these chunks."""
        for between, blob in zip(self._between, self._blobs, strict=False):
            yield between + b'"'
            if blob.blocks is None:
                async for piece in _encoded(chunks):
                    yield piece
            else:
                steps = base64(blob)
                while (made := await asyncio.to_thread(next, steps, None)) is not None:
                    yield made
            yield b'"'
        yield self._between[-1]

    def _hole(self, value: object) -> orjson.Fragment:
        if not isinstance(value, Blob):
            raise TypeError(type(value).__name__)
        self._blobs.append(value)
        return orjson.Fragment(HOLE)


def _with_holes(body: Mapping[str, object], hole: Callable[[object], orjson.Fragment]) -> list[bytes]:
    # orjson would write dataclasses, which blobs are, by itself.
    written: bytes = orjson.dumps(body, default=hole, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    return written.split(HOLE)


async def _encoded(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    encoder = Base64()
    async for chunk in chunks:
        # On the event loop: a chunk of 1 MiB takes a tenth of a millisecond, as long as handing it to a thread.
        yield encoder.of(chunk)
    yield encoder.end()
