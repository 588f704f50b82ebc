"""From a request message to a job of the pool: checked, with its model and its picture."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel, ValidationError

from featsvc.catalog.choice import chosen
from featsvc.engines.item import Item
from featsvc.errors import InvalidFields, invalid_field
from featsvc.pool.job import Job
from featsvc.pool.protocol import Pool
from featsvc.server.fetch import PictureFetcher
from featsvc.server.logs import request_id
from featsvc.server.settings import Settings
from featsvc.twin import from_message, violations
from featsvc.v1.schema import Image

Twin = TypeVar("Twin", bound=BaseModel)
# Checking thousands of points takes long enough to be felt by other callers.
LARGE = 32 * 1024


@dataclass(frozen=True)
class Intake:
    """What every service needs to turn a request into an answer."""

    pool: Pool
    fetcher: PictureFetcher
    settings: Settings

    async def checked(self, request: ProtoMessage, twin: type[Twin]) -> Twin:
        """The request as its twin. Raises InvalidFields that name every bad field."""
        try:
            if request.ByteSize() > LARGE:
                return await asyncio.to_thread(from_message, request, twin)
            return from_message(request, twin)
        except ValidationError as error:
            raise InvalidFields(violations(error)) from None

    async def answer(
        self, operation: str, params: BaseModel, item: Item, context: grpc.aio.ServicerContext
    ) -> tuple[Any, str]:  # Any: which result class it is follows from the operation
        """The result of an operation, and the key of the model that gave it."""
        entry = chosen(params, self.settings.profile)
        job = Job(
            service=entry.family,
            operation=operation,
            model=entry.key,
            params=params,
            item=item,
            deadline=time.monotonic() + self._seconds_left(context),
            nbytes=item.nbytes,
            request_id=request_id.get(),
        )
        return await self.pool.run(job), entry.key

    async def picture(self, image: Image) -> bytes:
        """The encoded picture. Raises InvalidFields where it is empty, too large or cannot be fetched."""
        if image.url is not None:
            return await self.fetcher.picture(image.url)
        content = image.content or b""
        if not content:
            raise invalid_field(
                "image.content", "is empty; send an encoded picture such as a JPEG or PNG file"
            )
        if len(content) > self.settings.max_image_bytes:
            raise invalid_field(
                "image.content",
                f"{len(content)} bytes, at most {self.settings.max_image_bytes} (--max-image-bytes)",
            )
        return content

    def _seconds_left(self, context: grpc.aio.ServicerContext) -> float:
        remaining = context.time_remaining()
        limit = self.settings.request_timeout
        return limit if remaining is None else min(float(remaining), limit)
