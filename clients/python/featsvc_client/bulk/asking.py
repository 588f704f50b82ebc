"""Asks about one picture until there is an answer, whatever the server is going through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from featsvc_client import awaiting, calls
from featsvc_client.bulk.basis import OPTION
from featsvc_client.bulk.commands import Question, unknown_digests
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.limiter import Limiter
from featsvc_client.calls import Call
from featsvc_client.errors import (
    NOT_GRPC,
    AuthenticationError,
    CallError,
    ModelNotFound,
    NotAllowed,
    Overloaded,
    PictureNotFound,
    WeightsMissing,
)
from featsvc_client.pictures import Picture
from featsvc_client.retry import RetryPolicy
from featsvc_client.session import Session
from featsvc_client.window import NO_PICTURE

# What is wrong with every picture alike.
HOPELESS = (AuthenticationError, NotAllowed, ModelNotFound, WeightsMissing)
# How a call may end whose server was stopped under it, or has too much to do.
INTERRUPTED = frozenset({"UNAVAILABLE", "CANCELLED", "ABORTED", "UNKNOWN", "DEADLINE_EXCEEDED"})
# A picture that ends its worker each time would keep everything waiting.
MOST_INTERRUPTIONS = 5
AGAIN_S = 5.0


class GaveUp(Exception):
    """The server has not answered for too long."""


@dataclass
class Away:
    """Tells people, now and then, that the server is away or full, and how long it may be."""

    target: str
    patience_s: float
    """How long, for all pictures alike, before the run ends."""
    say: Callable[[str], None]
    _told: float | None = None

    def tell(self, why: str, since_s: float = 0.0) -> None:
        """Says why there is no answer, and for how long there has been none; not more often than people can read."""
        now = time.monotonic()
        if self._told is not None and now - self._told < AGAIN_S:
            return
        self._told = now
        lasting = f" for {since_s:.0f} s" if since_s >= 1 else ""
        self.say(f"no answer from {self.target}{lasting}: {why}; trying on for {self.patience_s:g} s")


@dataclass
class Asker:
    """The question, and whom to ask."""

    connected: grpc.aio.Channel
    session: Session
    question: Question
    """Of an exemplar it has the vectors as soon as any picture is asked about."""
    limiter: Limiter
    backoff: RetryPolicy
    away: Away
    _completing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def answer(self, content: bytes) -> Any:  # Any: see Command
        """The answer; raises CallError where this picture has none, GaveUp or Refused where no picture will."""
        question = await self._complete()
        return await self._answered(await asyncio.to_thread(question.call, content))

    async def basis(self, pictures: Sequence[bytes]) -> str:
        """Name of the basis that is fitted over all of them together; raises Refused where that cannot be.

        The server must know them, so it is asked about each before. What has no answer by itself is left out.
        """
        if not pictures:
            raise Refused(f"{OPTION}: there is no picture that can be read")
        sample = {Picture(each).digest: each for each in pictures}
        await self._check_room(sample)
        known = await self._sent(sample)
        try:
            return await self._fitted(known)
        except PictureNotFound:
            # What others sent meanwhile may have taken their place. Of many that are gone only the first are named.
            known = await self._sent(known)
        try:
            return await self._fitted(known)
        except PictureNotFound as error:
            raise Refused(_no_room(known, "it has given up some of them again")) from error

    async def check_sample(self, size: int) -> None:
        """Raises Refused where the server fits no basis over so many pictures; none is sent or computed for it."""
        if size == 1:
            return
        # How many they are is judged before they are looked for.
        question = self.question.fitting(unknown_digests(size - 1))
        try:
            await self._answered(question.call(NO_PICTURE))
        except PictureNotFound:
            return
        except CallError as error:
            raise Refused(f"{OPTION} {size}: {error}") from error

    async def _check_room(self, sample: Mapping[str, bytes]) -> None:
        """Raises Refused where the server keeps too little for a key to know all of these at once."""
        try:
            caller = await awaiting.answered(self.connected, self.session.answered(calls.caller))
        except CallError:
            return  # it will tell when it is asked
        _, *others = sample.values()
        most = caller.limits.image_cache_per_key
        if sum(map(len, others)) > most:
            raise Refused(_no_room(sample, f"it keeps {most} bytes"))

    async def _sent(self, sample: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those that the server has answered about, so that it knows them; raises Refused where there are none."""
        known = dict[str, bytes]()
        for digest, each in sample.items():
            try:
                await self.answer(each)
                known[digest] = each
            except CallError as error:
                self.away.say(f"{OPTION}: a picture is left out: {error}")
        if not known:
            raise Refused(f"{OPTION}: no picture that was drawn has an answer: try another --pca-seed")
        return known

    async def _fitted(self, known: Mapping[str, bytes]) -> str:
        """The same of pictures that the server was sent; raises PictureNotFound where it has given up some of them."""
        own, *others = known
        question = self.question.fitting(others)
        try:
            answer = await self._answered(await asyncio.to_thread(question.call, known[own]))
        except PictureNotFound:
            raise
        except CallError as error:
            raise Refused(f"{OPTION}: {error}") from error
        return str(answer.pca_basis)

    async def _complete(self) -> Question:
        """The question with the vectors of its exemplar, which is described when it is first needed."""
        async with self._completing:
            lookup = self.question.lookup
            if lookup is None:
                return self.question
            try:
                objects = await self._answered(await asyncio.to_thread(lookup.described))
                self.question = self.question.completed(lookup.rows(objects))
            except CallError as error:
                raise Refused(f"--exemplar: {error}") from error
            return self.question

    async def _answered(self, call: Call[Any]) -> Any:  # Any: see Command
        """The answer to one call, however often it must be asked."""
        began, refusals, interruptions = time.monotonic(), 0, 0
        failed: CallError
        while True:
            async with self.limiter.place() as attempted:
                try:
                    answer = await awaiting.answered(self.connected, self.session.answered(lambda: call))
                except HOPELESS as error:
                    raise Refused(str(error)) from error
                except Overloaded as error:
                    self.limiter.refused(attempted)
                    refusals, failed = refusals + 1, error
                except CallError as error:
                    if error.reason == NOT_GRPC:
                        raise Refused(str(error)) from error
                    if not is_interruption(error):
                        self.limiter.answered()
                        raise
                    self.limiter.refused(attempted)
                    interruptions, failed = interruptions + 1, error
                else:
                    self.limiter.answered()
                    return answer
            # Others have been answered since: then it is the picture that the server cannot take.
            if interruptions >= MOST_INTERRUPTIONS and self.limiter.last_answer > began:
                raise failed
            silent_s = time.monotonic() - max(began, self.limiter.last_answer)
            if silent_s > self.away.patience_s:
                raise GaveUp(str(failed)) from failed
            if interruptions:
                self.away.tell(str(failed), silent_s)
            await asyncio.sleep(self._pause_s(failed, refusals + interruptions))

    def _pause_s(self, failed: CallError, times: int) -> float:
        # Jitter comes from the time, which is another for each: a pause need not be secure.
        return self.backoff.delay_s(times, failed.failure, time.monotonic() % 1)


def _no_room(sample: Mapping[str, bytes], why: str) -> str:
    """What is told where the server does not keep all of a sample at once."""
    nbytes = sum(map(len, sample.values()))
    return (
        f"{OPTION}: the {len(sample)} pictures are {nbytes} bytes, and the server must keep all at once: {why} "
        "(--image-cache-per-key, and --image-cache for all keys): draw fewer, or take smaller ones"
    )


def is_interruption(error: CallError) -> bool:
    """Whether the server was away rather than against it."""
    return error.failure.code in INTERRUPTED and not error.reason
