"""From a request message to a job of the pool: checked, with its model and its picture."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel, ValidationError

from featsvc.catalog.choice import entry_for
from featsvc.catalog.presets import in_force
from featsvc.errors import DeadlineExceeded, InvalidFields, UnknownPicture, invalid_field
from featsvc.fields.base import Parameters
from featsvc.pool.contract.job import Brief, Job
from featsvc.pool.contract.protocol import Pool
from featsvc.pool.transport.frames import LARGE_BYTES
from featsvc.server.calls.call import Call
from featsvc.server.pictures.fetch import PictureFetcher
from featsvc.server.pictures.store import Answered, Picture, PictureStore, named
from featsvc.settings.tree import GatewaySettings
from featsvc.twin import from_message, in_holders, violations
from featsvc.v1.schema import GenerateMasksParams, Image
from featsvc.work.item import Item
from featsvc.work.results import EmbeddedImage

Twin = TypeVar("Twin", bound=BaseModel)
# Checking thousands of points takes long enough to be felt by other callers.
LARGE = 32 * 1024
# Services whose workers keep what they know of a picture.
KEEPING_PICTURES = frozenset(("sam2",))
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SMALLER = "; a smaller picture (load_size) takes less"


@dataclass(frozen=True)
class Intake:
    """What every service needs to turn a request into an answer."""

    pool: Pool
    fetcher: PictureFetcher
    images: PictureStore
    settings: GatewaySettings
    closing: asyncio.Event
    """Set when the server shuts down: streams that wait for further questions end."""
    answered: Answered = field(default_factory=Answered)
    """Pictures that workers keep, each as one model sees it."""

    async def checked(self, request: ProtoMessage, twin: type[Twin]) -> Twin:
        """The request as its twin. Raises InvalidFields that name every bad field."""
        try:
            if request.ByteSize() > LARGE:
                return await asyncio.to_thread(from_message, request, twin)
            return from_message(request, twin)
        except ValidationError as error:
            raise InvalidFields(violations(error, twin)) from None

    async def answer(
        self, operation: str, params: Parameters, item: Item, call: Call
    ) -> tuple[Any, str]:  # Any: which result class it is follows from the operation
        """The result of an operation, and the key of the model that gave it."""
        try:
            return await self._answer(operation, params, item, call)
        except InvalidFields as error:
            # Engines know the parameters side by side, and nothing of the messages that hold them.
            raise InvalidFields(in_holders(error.violations, type(params))) from None

    async def _answer(
        self, operation: str, params: Parameters, item: Item, call: Call
    ) -> tuple[Any, str]:  # Any: see above
        entry = entry_for(params, self.settings.profile)
        if isinstance(params, GenerateMasksParams):
            params = in_force(params)
        deadline, is_ours = self._deadline(call)
        nbytes, image_bytes = item.nbytes, len(item.image)
        affinity = item.digest if entry.family in KEEPING_PICTURES else ""
        job = Job(
            service=entry.family,
            operation=operation,
            model=entry.key,
            params=params,
            item=item,
            deadline=deadline,
            nbytes=nbytes,
            caller=call.caller,
            request_id=call.request_id,
            question=(item.digest, item.orientation, item.texts, item.prompts),
            affinity=affinity,
            brief=Brief(item.without_image(), nbytes - image_bytes)
            if affinity and image_bytes >= LARGE_BYTES
            else None,
        )
        picture_key = (entry.key, item.digest, item.orientation)
        is_known = self.answered.knows(call.caller, picture_key)
        try:
            result = await self.pool.run(job)
        except DeadlineExceeded:
            if not is_ours:
                raise
            raise DeadlineExceeded(self._limit_told(call) + (SMALLER if image_bytes else "")) from None
        if item.digest:
            # Only now: what cannot be decoded is not worth the room.
            self.images.keep(call.caller, Picture(item.image, item.digest))
        if affinity:
            self.answered.note(call.caller, picture_key)
        if isinstance(result, EmbeddedImage) and not is_known:
            # That somebody else has asked about it is nothing to this caller.
            result = replace(result, cached=False)
        return result, entry.key

    def _deadline(self, call: Call) -> tuple[float, bool]:
        """Until when the request may take, and whether that is a limit of ours."""
        now, s = time.monotonic(), self.settings
        if call.deadline is None:
            return now + s.request_timeout, True
        most = now + s.max_request_timeout
        return min(call.deadline, most), call.deadline > most

    def _limit_told(self, call: Call) -> str:
        s = self.settings
        if call.deadline is None:
            return (
                f"the request took longer than {s.request_timeout:g} s, which it may where the caller sets no deadline "
                f"(--request-timeout): set one, of {s.max_request_timeout:g} s at most"
            )
        return (
            f"the request took longer than {s.max_request_timeout:g} s, the most that a caller may ask for "
            "(--max-request-timeout)"
        )

    async def item(self, image: Image, call: Call, **beside: Any) -> Item:  # Any: what else an Item holds
        """What the engines get of a question about a picture; raises what `picture` raises."""
        picture = await self.picture(image, call)
        return Item(
            image=picture.content,
            digest=picture.digest,
            orientation=image.orientation,
            json=call.json,
            **beside,
        )

    async def picture(self, image: Image, call: Call) -> Picture:
        """The encoded picture and its name. Raises InvalidFields where it is empty, too large or out of reach.

        Raises UnknownPicture where a digest names none that this caller has sent lately.
        """
        if image.digest is not None:
            return self._kept(image.digest, call)
        if image.url is not None:
            fetched = await self.fetcher.picture(image.url, call.caller)
            call.bytes_open += len(fetched)
            return await named(fetched)
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
