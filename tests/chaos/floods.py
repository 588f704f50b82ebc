"""What one caller may do to a server, and another who asks small questions beside it. All over gRPC."""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
from PIL import Image

from featsvc.v1 import clip_pb2, clip_pb2_grpc, dino_pb2, dino_pb2_grpc, image_pb2, sam2_pb2, sam2_pb2_grpc

Metadata = tuple[tuple[str, str], ...]
Ask = Callable[[grpc.aio.Channel, Metadata], Awaitable[object]]
MOST_CALLS = 50  # of one connection at once: a server takes 100, and some may end while others begin
UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def metadata_of(key: str) -> Metadata:
    """What a call with this key has beside it."""
    return (("authorization", f"Bearer {key}"),)


def noise(megabytes: float, seed: int = 0) -> bytes:
    """A picture whose file has about so many megabytes."""
    side = int((megabytes * 1e6 / 3) ** 0.5)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


@asynccontextmanager
async def channels(target: str, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Connections of their own."""
    options = (*UNLIMITED, ("grpc.use_local_subchannel_pool", 1))
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(target, options)) for _ in range(count)
        ]


@dataclass(frozen=True)
class Flood:
    """So many callers of one key, each with the next question as soon as it has an answer."""

    name: str
    callers: int
    ask: Ask
    counts: Counter[str] = field(default_factory=Counter)
    """Answers and refusals, by status."""

    async def run(self, target: str, key: str, callers: int, rounds: int | None = None) -> None:
        """Ask with so many callers, for ever or so often each."""
        async with channels(target, 1 + (callers - 1) // MOST_CALLS) as found:
            await asyncio.gather(
                *(self._keep_asking(found[number % len(found)], key, rounds) for number in range(callers))
            )

    async def _keep_asking(self, channel: grpc.aio.Channel, key: str, rounds: int | None) -> None:
        while rounds is None or rounds > 0:
            rounds = None if rounds is None else rounds - 1
            try:
                await self.ask(channel, metadata_of(key))
                self.counts["OK"] += 1
            except grpc.aio.AioRpcError as error:
                self.counts[error.code().name] += 1
                await asyncio.sleep(
                    0.05
                )  # who is refused does not come back at once, or the client is busy with that


def pictures(megabytes: float, timeout_s: float = 20.0) -> Ask:
    """Features of a large picture."""
    request = clip_pb2.ClipServiceExtractFeaturesRequest(image=image_pb2.Image(content=noise(megabytes)))

    async def ask(channel: grpc.aio.Channel, metadata: Metadata) -> object:
        stub = clip_pb2_grpc.ClipServiceStub(channel)
        return await stub.ExtractFeatures(request, metadata=metadata, timeout=timeout_s)

    return ask


def automatic_masks(picture: bytes, timeout_s: float = 20.0) -> Ask:
    """All masks of a picture."""
    request = sam2_pb2.GenerateMasksRequest(image=image_pb2.Image(content=picture))

    async def ask(channel: grpc.aio.Channel, metadata: Metadata) -> object:
        stub = sam2_pb2_grpc.Sam2ServiceStub(channel)
        return await stub.GenerateMasks(request, metadata=metadata, timeout=timeout_s)

    return ask


def stream(picture: bytes, questions: int, timeout_s: float = 40.0) -> Ask:
    """A stream of so many questions, which ends when all are answered."""
    asked = dino_pb2.DinoServiceExtractFeaturesRequest(image=image_pb2.Image(content=picture))

    async def ask(channel: grpc.aio.Channel, metadata: Metadata) -> object:
        stub = dino_pb2_grpc.DinoServiceStub(channel)

        async def messages() -> AsyncIterator[dino_pb2.DinoServiceExtractFeaturesStreamRequest]:
            for number in range(questions):
                yield dino_pb2.DinoServiceExtractFeaturesStreamRequest(request_id=str(number), request=asked)

        count = 0
        async for _ in stub.ExtractFeaturesStream(messages(), metadata=metadata, timeout=timeout_s):
            count += 1
        return count

    return ask


def hasty(picture: bytes, timeout_s: float = 10.0) -> Ask:
    """Features of a small picture, wanted soon."""
    request = dino_pb2.DinoServiceExtractFeaturesRequest(image=image_pb2.Image(content=picture))

    async def ask(channel: grpc.aio.Channel, metadata: Metadata) -> object:
        stub = dino_pb2_grpc.DinoServiceStub(channel)
        return await stub.ExtractFeatures(request, metadata=metadata, timeout=timeout_s)

    return ask


class Other:
    """A caller of small questions with much time: a text, a click, a small picture, one after the other."""

    def __init__(self, channel: grpc.aio.Channel, key: str, picture: bytes) -> None:
        self._metadata = metadata_of(key)
        self._clip = clip_pb2_grpc.ClipServiceStub(channel)
        self._dino = dino_pb2_grpc.DinoServiceStub(channel)
        self._sam2 = sam2_pb2_grpc.Sam2ServiceStub(channel)
        self._image = image_pb2.Image(content=picture)
        self._count = 0
        self.took_s: defaultdict[str, list[float]] = defaultdict(list)
        """How long each took that was answered, by what it was."""
        self.failed: list[str] = []

    async def ask(self) -> None:
        """One of each."""
        self._count += 1
        text = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=[f"a red circle {self._count}"]))
        point = sam2_pb2.Point(x=50, y=60 + self._count % 90)
        prompt = sam2_pb2.Prompt(point_coords=[point], point_labels=[1])
        click = sam2_pb2.PredictMasksRequest(image=self._image, prompts=[prompt])
        small = dino_pb2.DinoServiceExtractFeaturesRequest(image=self._image)
        await self._timed("text", self._clip.EncodeText(text, metadata=self._metadata, timeout=60))
        await self._timed("click", self._sam2.PredictMasks(click, metadata=self._metadata, timeout=60))
        await self._timed("picture", self._dino.ExtractFeatures(small, metadata=self._metadata, timeout=60))

    async def _timed(self, name: str, answer: Awaitable[object]) -> None:
        began = time.monotonic()
        try:
            await answer
        except grpc.aio.AioRpcError as error:
            self.failed.append(f"{name}: {error.code().name} {error.details()}")
        else:
            self.took_s[name].append(time.monotonic() - began)
