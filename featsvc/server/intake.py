"""From a request message to a job of the pool: checked, with its model and its picture."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel, ValidationError

from featsvc.catalog.choice import chosen
from featsvc.engines.item import Item
from featsvc.errors import FieldViolation, InvalidFields, UnknownPicture, invalid_field
from featsvc.pool.job import Job
from featsvc.pool.protocol import Pool
from featsvc.server.call import Call
from featsvc.server.fetch import PictureFetcher
from featsvc.server.settings import Settings
from featsvc.server.store import Picture, PictureStore, named
from featsvc.twin import from_message, violations
from featsvc.v1.schema import Image

Twin = TypeVar("Twin", bound=BaseModel)
# Checking thousands of points takes long enough to be felt by other callers.
LARGE = 32 * 1024
# Services whose workers keep what they know of a picture.
KEEPING_PICTURES = frozenset(("sam2",))
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Where a question is one field of a message, as in streams, its own fields are named as if it came alone.
WRAPPER = "request."


@dataclass(frozen=True)
class Intake:
    """What every service needs to turn a request into an answer."""

    pool: Pool
    fetcher: PictureFetcher
    images: PictureStore
    settings: Settings
    closing: asyncio.Event
    """Set when the server shuts down: streams that wait for further questions end."""

    async def checked(self, request: ProtoMessage, twin: type[Twin]) -> Twin:
        """The request as its twin. Raises InvalidFields that name every bad field."""
        try:
            if request.ByteSize() > LARGE:
                return await asyncio.to_thread(from_message, request, twin)
            return from_message(request, twin)
        except ValidationError as error:
            bad = violations(error)
            raise InvalidFields(
                [FieldViolation(each.field.removeprefix(WRAPPER), each.message) for each in bad]
            ) from None

    async def answer(
        self, operation: str, params: BaseModel, item: Item, call: Call
    ) -> tuple[Any, str]:  # Any: which result class it is follows from the operation
        """The result of an operation, and the key of the model that gave it."""
        entry = chosen(params, self.settings.profile)
        limit = time.monotonic() + self.settings.request_timeout
        job = Job(
            service=entry.family,
            operation=operation,
            model=entry.key,
            params=params,
            item=item,
            deadline=limit if call.deadline is None else min(call.deadline, limit),
            nbytes=item.nbytes,
            request_id=call.request_id,
            affinity=item.digest if entry.family in KEEPING_PICTURES else "",
        )
        result = await self.pool.run(job)
        if item.digest:
            # Only now: what cannot be decoded is not worth the room.
            self.images.keep(call.caller, Picture(item.image, item.digest))
        return result, entry.key

    async def item(self, image: Image, call: Call, **beside: Any) -> Item:  # Any: what else an Item holds
        """What the engines get of a question about a picture; raises what `picture` raises."""
        picture = await self.picture(image, call)
        return Item(image=picture.content, digest=picture.digest, **beside)

    async def picture(self, image: Image, call: Call) -> Picture:
        """The encoded picture and its name. Raises InvalidFields where it is empty, too large or out of reach.

        Raises UnknownPicture where a digest names none that this caller has sent lately.
        """
        if image.digest is not None:
            return self._kept(image.digest, call)
        if image.url is not None:
            return await named(await self.fetcher.picture(image.url))
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
        return await named(content)

    def _kept(self, digest: str, call: Call) -> Picture:
        if not DIGEST.fullmatch(digest):
            raise invalid_field("image.digest", "must be sha256: and 64 hexadecimal digits in lower case")
        picture = self.images.find(call.caller, digest)
        if picture is None:
            raise UnknownPicture(
                "image.digest", "names no picture that was sent lately with this key: send the file itself"
            )
        return picture
