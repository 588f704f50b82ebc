# ruff: noqa: ASYNC109  (the deadline travels with the call, so the server too knows it)
"""What both gRPC clients ask about pyramids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from functools import partial
from typing import Unpack

import grpc

from featsvc.v1 import schema
from featsvc_client import awaiting, blocking, calls, operations
from featsvc_client.arguments import PyramidParams
from featsvc_client.documented import documented
from featsvc_client.errors import CallError
from featsvc_client.pictures import ImageLike
from featsvc_client.pyramid_results import Pyramid
from featsvc_client.session import Session
from featsvc_client.terms import Terms
from featsvc_client.window import IN_FLIGHT, Asked, Name, Window


class PyramidCalls:
    """The calls about pyramids of the blocking client."""

    _session: Session
    _channel: grpc.Channel

    @documented(schema.Image, schema.EmbedPyramidParams)
    def embed_pyramid(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[PyramidParams],
    ) -> Pyramid:
        """CLIP embeddings of tiles of a picture in several sizes, or what they make at points (x, y, scale)."""
        build = partial(calls.about_picture, operations.EMBED_PYRAMID, image, options)
        return blocking.answered(self._channel, self._session.answered(build, Terms(timeout, priority)))

    @documented(schema.Image, schema.EmbedPyramidParams)
    def stream_embed_pyramid(
        self,
        images: Iterable[Asked],
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[PyramidParams],
    ) -> Generator[tuple[Name, Pyramid | CallError], None, None]:
        """The same of many pictures; see `stream_predict_masks`."""
        build = partial(calls.about_picture, operations.EMBED_PYRAMID, params=options)
        asked = Window(self._session, operations.EMBED_PYRAMID, build, window, Terms(timeout, priority))
        return blocking.streamed(self._channel, asked, images)


class AsyncPyramidCalls:
    """The calls about pyramids of the asyncio client."""

    _session: Session
    _channel: grpc.aio.Channel

    @documented(schema.Image, schema.EmbedPyramidParams)
    async def embed_pyramid(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[PyramidParams],
    ) -> Pyramid:
        """CLIP embeddings of tiles of a picture in several sizes, or what they make at points (x, y, scale)."""
        build = partial(calls.about_picture, operations.EMBED_PYRAMID, image, options)
        return await awaiting.answered(self._channel, self._session.answered(build, Terms(timeout, priority)))

    @documented(schema.Image, schema.EmbedPyramidParams)
    def stream_embed_pyramid(
        self,
        images: Iterable[Asked] | AsyncIterable[Asked],
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[PyramidParams],
    ) -> AsyncGenerator[tuple[Name, Pyramid | CallError], None]:
        """The same of many pictures; see `stream_predict_masks`."""
        build = partial(calls.about_picture, operations.EMBED_PYRAMID, params=options)
        asked = Window(self._session, operations.EMBED_PYRAMID, build, window, Terms(timeout, priority))
        return awaiting.streamed(self._channel, asked, images)
