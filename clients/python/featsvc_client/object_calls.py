# ruff: noqa: ASYNC109  (the deadline travels with the call, so the server too knows it)
"""What both gRPC clients ask about objects."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Sequence
from functools import partial
from typing import Unpack

import grpc

from featsvc.v1 import schema
from featsvc_client import awaiting, blocking, calls, operations
from featsvc_client.arguments import FindParams, ObjectParams
from featsvc_client.documented import documented
from featsvc_client.errors import CallError
from featsvc_client.object_results import FoundObjects, Objects
from featsvc_client.pictures import ImageLike
from featsvc_client.session import Session
from featsvc_client.terms import Terms
from featsvc_client.window import IN_FLIGHT, Asked, Name, Window


class ObjectCalls:
    """The calls about objects of the blocking client."""

    _session: Session
    _channel: grpc.Channel

    @documented(schema.Image, schema.ObjectSource, schema.DescribeObjectsParams)
    def describe_objects(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[ObjectParams],
    ) -> Objects:
        """Objects of a picture, found or given (bitmaps is N x H x W), with vectors that describe them."""
        steps = self._session.answered(
            partial(calls.describe_objects, image, options), Terms(timeout, priority)
        )
        return blocking.answered(self._channel, steps)

    @documented(schema.Image, schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams)
    def find_objects(
        self,
        image: ImageLike,
        texts: str | Sequence[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[FindParams],
    ) -> FoundObjects:
        """The objects of a picture that texts name, or that are like vectors of objects elsewhere."""
        steps = self._session.answered(
            partial(calls.find_objects, image, texts, options), Terms(timeout, priority)
        )
        return blocking.answered(self._channel, steps)

    @documented(schema.Image, schema.ObjectSource, schema.DescribeObjectsParams)
    def stream_describe_objects(
        self,
        images: Iterable[Asked],
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[ObjectParams],
    ) -> Generator[tuple[Name, Objects | CallError], None, None]:
        """Objects of many pictures, with vectors that describe them; see `stream_predict_masks`."""
        build = partial(calls.describe_objects, params=options)
        asked = Window(self._session, operations.DESCRIBE_OBJECTS, build, window, Terms(timeout, priority))
        return blocking.streamed(self._channel, asked, images)

    @documented(schema.Image, schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams)
    def stream_find_objects(
        self,
        images: Iterable[Asked],
        texts: str | Sequence[str] | None = None,
        /,
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[FindParams],
    ) -> Generator[tuple[Name, FoundObjects | CallError], None, None]:
        """The objects of many pictures that texts name or that are like vectors; see `stream_predict_masks`."""
        build = partial(calls.sought, texts, options)
        asked = Window(self._session, operations.FIND_OBJECTS, build, window, Terms(timeout, priority))
        return blocking.streamed(self._channel, asked, images)


class AsyncObjectCalls:
    """The calls about objects of the asyncio client."""

    _session: Session
    _channel: grpc.aio.Channel

    @documented(schema.Image, schema.ObjectSource, schema.DescribeObjectsParams)
    async def describe_objects(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[ObjectParams],
    ) -> Objects:
        """Objects of a picture, found or given (bitmaps is N x H x W), with vectors that describe them."""
        steps = self._session.answered(
            partial(calls.describe_objects, image, options), Terms(timeout, priority)
        )
        return await awaiting.answered(self._channel, steps)

    @documented(schema.Image, schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams)
    async def find_objects(
        self,
        image: ImageLike,
        texts: str | Sequence[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[FindParams],
    ) -> FoundObjects:
        """The objects of a picture that texts name, or that are like vectors of objects elsewhere."""
        steps = self._session.answered(
            partial(calls.find_objects, image, texts, options), Terms(timeout, priority)
        )
        return await awaiting.answered(self._channel, steps)

    @documented(schema.Image, schema.ObjectSource, schema.DescribeObjectsParams)
    def stream_describe_objects(
        self,
        images: Iterable[Asked] | AsyncIterable[Asked],
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[ObjectParams],
    ) -> AsyncGenerator[tuple[Name, Objects | CallError], None]:
        """Objects of many pictures, with vectors that describe them; see `stream_predict_masks`."""
        build = partial(calls.describe_objects, params=options)
        asked = Window(self._session, operations.DESCRIBE_OBJECTS, build, window, Terms(timeout, priority))
        return awaiting.streamed(self._channel, asked, images)

    @documented(schema.Image, schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams)
    def stream_find_objects(
        self,
        images: Iterable[Asked] | AsyncIterable[Asked],
        texts: str | Sequence[str] | None = None,
        /,
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[FindParams],
    ) -> AsyncGenerator[tuple[Name, FoundObjects | CallError], None]:
        """The objects of many pictures that texts name or that are like vectors; see `stream_predict_masks`."""
        build = partial(calls.sought, texts, options)
        asked = Window(self._session, operations.FIND_OBJECTS, build, window, Terms(timeout, priority))
        return awaiting.streamed(self._channel, asked, images)
