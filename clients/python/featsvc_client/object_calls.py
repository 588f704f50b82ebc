# ruff: noqa: ASYNC109  (the deadline travels with the call, so the server too knows it)
"""What both gRPC clients ask about objects."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeAlias, Unpack

import grpc

from featsvc.v1 import schema
from featsvc_client import awaiting, blocking, calls, exemplars, operations
from featsvc_client.arguments import FindParams, ObjectParams
from featsvc_client.calls import Call
from featsvc_client.documented import documented
from featsvc_client.errors import CallError
from featsvc_client.exemplars import FIELD, Exemplar, Lookup
from featsvc_client.object_results import FoundObjects, Objects
from featsvc_client.pictures import ImageLike
from featsvc_client.session import Session, Steps
from featsvc_client.terms import Terms
from featsvc_client.window import IN_FLIGHT, Asked, Name, Window

Build: TypeAlias = Callable[..., Call[FoundObjects]]
"""Makes the question about a picture."""
BESIDE = {
    FIELD: "An Exemplar: objects of another picture to look for, in place of texts and vectors. They are described "
    "first, by the same options and within the same time; of a stream when its first answer is wanted, in a time of "
    "their own."
}
"""What the calls that find take beside the options of the service."""


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

    @documented(
        schema.Image, schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams, beside=BESIDE
    )
    def find_objects(
        self,
        image: ImageLike,
        texts: str | Sequence[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        exemplar: Exemplar | None = None,
        **options: Unpack[FindParams],
    ) -> FoundObjects:
        """The objects of a picture that texts name, or that are like objects elsewhere."""
        steps = _found(self._session, image, texts, exemplar, options, Terms(timeout, priority))
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

    @documented(
        schema.Image, schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams, beside=BESIDE
    )
    def stream_find_objects(
        self,
        images: Iterable[Asked],
        texts: str | Sequence[str] | None = None,
        /,
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        exemplar: Exemplar | None = None,
        **options: Unpack[FindParams],
    ) -> Generator[tuple[Name, FoundObjects | CallError], None, None]:
        """The objects of many pictures that texts name or that are like others; see `stream_predict_masks`."""
        terms = Terms(timeout, priority)

        def asked(build: Build) -> Window[FoundObjects]:
            return Window(self._session, operations.FIND_OBJECTS, build, window, terms)

        if exemplar is None:
            return blocking.streamed(self._channel, asked(partial(calls.sought, texts, options)), images)
        lookup = Lookup.of(exemplar, texts, options)
        asked(lookup.trial)

        def after() -> Generator[tuple[Name, FoundObjects | CallError], None, None]:
            objects = blocking.answered(self._channel, self._session.answered(lookup.described, terms))
            yield from blocking.streamed(self._channel, asked(lookup.found(objects)), images)

        return after()


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

    @documented(
        schema.Image, schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams, beside=BESIDE
    )
    async def find_objects(
        self,
        image: ImageLike,
        texts: str | Sequence[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        exemplar: Exemplar | None = None,
        **options: Unpack[FindParams],
    ) -> FoundObjects:
        """The objects of a picture that texts name, or that are like objects elsewhere."""
        steps = _found(self._session, image, texts, exemplar, options, Terms(timeout, priority))
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

    @documented(
        schema.Image, schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams, beside=BESIDE
    )
    def stream_find_objects(
        self,
        images: Iterable[Asked] | AsyncIterable[Asked],
        texts: str | Sequence[str] | None = None,
        /,
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        exemplar: Exemplar | None = None,
        **options: Unpack[FindParams],
    ) -> AsyncGenerator[tuple[Name, FoundObjects | CallError], None]:
        """The objects of many pictures that texts name or that are like others; see `stream_predict_masks`."""
        terms = Terms(timeout, priority)

        def asked(build: Build) -> Window[FoundObjects]:
            return Window(self._session, operations.FIND_OBJECTS, build, window, terms)

        if exemplar is None:
            return awaiting.streamed(self._channel, asked(partial(calls.sought, texts, options)), images)
        lookup = Lookup.of(exemplar, texts, options)
        asked(lookup.trial)

        async def after() -> AsyncGenerator[tuple[Name, FoundObjects | CallError], None]:
            steps = self._session.answered(lookup.described, terms)
            objects = await awaiting.answered(self._channel, steps)
            answers = awaiting.streamed(self._channel, asked(lookup.found(objects)), images)
            async with aclosing(answers):
                async for answer in answers:
                    yield answer

        return after()


def _found(
    session: Session,
    image: ImageLike,
    texts: str | Sequence[str] | None,
    exemplar: Exemplar | None,
    options: Mapping[str, object],
    terms: Terms,
) -> Steps[FoundObjects]:
    """The steps to what texts name, or what is like an exemplar; raises InvalidRequest."""
    if exemplar is None:
        return session.answered(partial(calls.find_objects, image, texts, options), terms)
    return exemplars.found(session, image, Lookup.of(exemplar, texts, options), terms)
