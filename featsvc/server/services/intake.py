"""From a request message to a job of the pool: checked, with its model and its picture."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel, ValidationError

from featsvc.catalog import Entry, entry_of
from featsvc.catalog.choice import check_answers, entry_for
from featsvc.errors import (
    DeadlineExceeded,
    FeatsvcError,
    FieldViolation,
    InvalidFields,
    NamesFields,
    UnknownPicture,
    invalid_field,
)
from featsvc.fields.base import Parameters
from featsvc.pool.contract.job import Job, JobEstimate, JobObserver, JobTimes
from featsvc.pool.contract.protocol import Pool
from featsvc.server.calls.audit import write_download
from featsvc.server.calls.call import Call, Received
from featsvc.server.calls.deadlines import Deadlines
from featsvc.server.calls.refusals import Refusals
from featsvc.server.keys.permissions import WeightsHere, check_model
from featsvc.server.pictures.fetch import PictureFetcher
from featsvc.server.pictures.store import Answered, Picture, PictureStore, named
from featsvc.server.services.knowledge import affinity, brief
from featsvc.settings.tree import GatewaySettings
from featsvc.twin import from_message, in_holders, violations
from featsvc.twin.messages import PARAMETERS
from featsvc.v1.schema import Image
from featsvc.work.item import IN_ONE_PIECE, Item, PictureItem, Way, beside_picture, pictures_of
from featsvc.work.operations import AnyOperation, I, Operation, P, PicturesBeside, R, models_of
from featsvc.work.results import EmbeddedImage

Twin = TypeVar("Twin", bound=BaseModel)
P_co = TypeVar("P_co", bound=Parameters, covariant=True)
# Checking thousands of points takes long enough to be felt by other callers.
LARGE = 32 * 1024
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SMALLER = "; a smaller picture (load_size) takes less"


class Asked(Protocol[P_co]):
    """The twin of a request; beside its parameters it has what the item of its operation holds."""

    @property
    def params(self) -> P_co:
        """All of them."""


@dataclass(frozen=True)
class Answer(Generic[R]):
    """A result, what the reply says beside it, and what it has taken."""

    result: R
    facts: Mapping[str, str]
    times: JobTimes


@dataclass(frozen=True)
class Intake:
    """What the methods of all operations need to turn a request into an answer."""

    pool: Pool
    fetcher: PictureFetcher
    images: PictureStore
    settings: GatewaySettings
    weights: WeightsHere
    closing: asyncio.Event
    """Set when the server shuts down: streams that wait for further questions end."""
    refusals: Refusals
    """When questions of streams are told that there is no place."""
    deadlines: Deadlines
    observers: tuple[JobObserver, ...] = ()
    answered: Answered = field(default_factory=Answered)
    """Pictures that workers keep, each as one model sees it."""

    async def checked(self, request: ProtoMessage, twin: type[Twin], received: Received) -> Twin:
        """The request as its twin, as it was received. Raises InvalidFields that name every bad field."""
        try:
            # Its own ByteSize() would write the whole message to count it.
            if received.nbytes > LARGE:
                return await asyncio.to_thread(from_message, request, twin, received.files)
            return from_message(request, twin)
        except ValidationError as error:
            raise InvalidFields(violations(error, twin)) from None

    async def answer(
        self, operation: Operation[P, I, R], asked: Asked[P], call: Call, chunked: bool = False
    ) -> Answer[R]:
        """The answer to a request."""
        way = Way(chunked, call.json) if chunked or call.json else IN_ONE_PIECE
        with _in_holders(operation.params):
            job, item = await self._job(operation, asked, call, way)
            await self._note_downloads(job, call)
            result = await self._result(job, item, call)
        digest = item.digest if isinstance(item, PictureItem) else ""
        return Answer(result, {"model": job.model, "image_digest": digest}, job.times)

    async def estimate(self, operation: Operation[P, I, R], asked: Asked[P], call: Call) -> JobEstimate:
        """What a request would cost; raises what `answer` raises before a worker looks at it, but for want of room."""
        with _in_holders(operation.params):
            job, _ = await self._job(operation, asked, call, IN_ONE_PIECE)
            return await self.pool.estimate(job)

    def _entries(self, operation: AnyOperation, asked: Asked[Any], call: Call) -> list[Entry]:
        """The models that answer, which the caller may use."""
        entries: list[Entry] = []
        for naming, asked_of_it, option in models_of(operation, asked):
            entry = entry_for(naming, self.settings.profile, option)
            check_model(call.caller, entry)
            call.model = entries[0].key if entries else entry.key
            check_answers(entry, asked_of_it)
            entries.append(entry)
        return entries

    async def _job(
        self, operation: Operation[P, I, R], asked: Asked[P], call: Call, way: Way
    ) -> tuple[Job[R], I]:
        entries = self._entries(operation, asked, call)
        item = await self._item(operation, asked, way, call)
        for each in entries:
            await self.weights.check(call.caller, each)
        params = asked.params if operation.settled is None else operation.settled(asked.params)
        job = Job(
            operation=operation,
            model=entries[0].key,
            also=tuple(each.key for each in entries[1:]),
            params=params,
            item=item,
            deadline=self.deadlines.of(call),
            nbytes=item.nbytes,
            caller=call.caller,
            request_id=call.request_id,
            priority=call.priority,
            question=item.question,
            affinity=affinity(operation, item, params, self.settings.basis_cache > 0),
            brief=brief(operation, item),
            pictures=max(1, len(pictures_of(item))),
            on_taken=None if call.on_taken is None else partial(call.on_taken, call),
        )
        return job, item

    async def _note_downloads(self, job: Job[R], call: Call) -> None:
        """Writes a line of the audit log for each model whose weights this question has downloaded."""
        for model in (job.model, *job.also):
            is_begun = await self.weights.begins_download(call.caller, entry_of(model))
            # Weights that were deleted since are not needed any more.
            if is_begun and not self._is_loaded(model):
                write_download(call, model)

    def _is_loaded(self, model: str) -> bool:
        return any(each.name == model for worker in self.pool.status().workers for each in worker.models)

    async def _result(self, job: Job[R], item: Item, call: Call) -> R:
        call.times = job.times
        code = "CANCELLED"
        try:
            if isinstance(item, PictureItem):
                result = await self._about_picture(job, item, call)
            else:
                result = await self.pool.run(job)
            code = "OK"
            return result
        except FeatsvcError as error:
            code = error.code
            smaller = SMALLER if isinstance(item, PictureItem) and item.image else ""
            refusal = self.deadlines.refusal(call, job.deadline, smaller)
            if refusal is None or not isinstance(error, DeadlineExceeded):
                raise
            raise refusal from None
        finally:
            for observer in self.observers:
                observer.on_end(job, code)

    async def _about_picture(self, job: Job[R], item: PictureItem, call: Call) -> R:
        key = (job.model, item.digest, item.orientation)
        is_known = self.answered.knows(call.caller, key)
        result = await self.pool.run(job)
        if item.digest:
            # Only now: what cannot be decoded is not worth the room.
            self.images.keep(call.caller, Picture(item.image, item.digest))
        if job.operation.keeps_pictures and item.digest:
            self.answered.note(call.caller, key)
        if isinstance(result, EmbeddedImage) and not is_known:
            # That somebody else has asked about it is nothing to this caller.
            result = replace(result, was_cached=False)
        return result

    async def _item(
        self, operation: Operation[P, I, R], asked: Any, way: Way, call: Call
    ) -> I:  # Any: what it is asked about
        """What the engines get beside the parameters; raises what `picture` raises."""
        kind = operation.item
        own: Any = kind  # Any: mypy takes no dataclass for hashable
        values: dict[str, Any] = {name: getattr(asked, name) for name in beside_picture(own)}
        if issubclass(kind, PictureItem):
            picture = await self.picture(asked.image, call)
            values |= {
                "image": picture.content,
                "digest": picture.digest,
                "orientation": asked.image.orientation,
            }
            if operation.together is not None and (named := operation.together(asked.params)).digests:
                further = self._further(named, picture, call)
                orientation = asked.image.orientation
                values["together"] = tuple(
                    PictureItem(each.content, each.digest, orientation) for each in further
                )
        return kind(way=way, **values)

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

    def _further(self, named: PicturesBeside, own: Picture, call: Call) -> list[Picture]:
        """The pictures that belong to a question beside its own, by their names; each of them once."""
        digests, most = set(named.digests) - {own.digest}, self.settings.max_basis_pictures
        field = f"{PARAMETERS}.{named.option}"
        if len(digests) >= most:
            message = f"with this one these are {1 + len(digests)} pictures, at most {most}"
            raise invalid_field(field, f"{message} (--max-basis-pictures): name fewer")
        further, gone = list[Picture](), list[FieldViolation]()
        for each in sorted(digests, key=named.digests.index):
            try:
                further.append(self._kept(each, call, f"{field}[{named.digests.index(each)}]"))
            except UnknownPicture as error:
                gone += error.violations
        if gone:
            raise UnknownPicture(gone)
        nbytes = sum(len(each.content) for each in (own, *further))
        if nbytes > self.settings.max_request_bytes:
            message = f"all pictures together are {nbytes} bytes, at most {self.settings.max_request_bytes}"
            raise invalid_field(field, f"{message} (--max-request-bytes): name fewer or smaller ones")
        return further

    def _kept(self, digest: str, call: Call, field: str = "image.digest") -> Picture:
        if not DIGEST.fullmatch(digest):
            raise invalid_field(field, "must be sha256: and 64 hexadecimal digits in lower case")
        picture = self.images.find(call.caller, digest)
        if picture is None:
            message = f"{digest} names no picture that was sent lately with this key: send the file itself"
            raise UnknownPicture([FieldViolation(field, message)])
        return picture


@contextmanager
def _in_holders(params: type[Parameters]) -> Iterator[None]:
    """Engines know the parameters side by side, and nothing of the messages that hold them: callers do."""
    try:
        yield
    except NamesFields as error:
        raise type(error)(in_holders(error.violations, params)) from None
