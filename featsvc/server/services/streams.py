"""Many questions over one call, each answered as soon as it is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel

from featsvc.codec.timing import Timing
from featsvc.errors import DeadlineExceeded, Unavailable
from featsvc.pool.contract.job import JobTimes
from featsvc.server.calls.call import Call, Received, timing_of
from featsvc.server.calls.reply import Reply
from featsvc.server.calls.statuses import item_error, told
from featsvc.server.services.intake import Answer, Intake
from featsvc.v1 import stream_pb2
from featsvc.work.results import Result

# Any: the generated messages of all streams have the same fields, but no class in common that says so.
Messages = AsyncIterator[Any]


@dataclass(frozen=True)
class Questions:
    """The messages of one streaming method, what answers a question, and what writes the answer."""

    asked: type[BaseModel]
    response: type[ProtoMessage]
    answer: Callable[[Any, Call], Awaitable[Answer[Result]]]
    write: Callable[[Answer[Result]], Awaitable[Reply]]


async def answer_each(messages: Messages, questions: Questions, intake: Intake, call: Call) -> None:
    """Answers in order of completion, and ends when the caller has ended and all is answered.

    While `max_open_per_stream` questions are open no further one is read, so that gRPC's flow control holds the
    caller back. When the caller leaves, this is cancelled, and every open question with it. When the server shuts
    down, what is open is answered, and then this raises Unavailable; DeadlineExceeded where the time of the whole call
    is over, which its caller may notice later than its questions do.
    """
    places = asyncio.Semaphore(intake.settings.max_open_per_stream)

    async def answer(message: Any, received: Received) -> None:
        number = message.request_id
        try:
            reply = await _answer(message, received, questions, intake, call)
        except (
            Exception
        ) as error:  # the boundary of the process: what is wrong with one question goes to its caller
            refusal = told(error, call.method)
            # It may wait to be told, and its message is not to wait with it.
            del message, received
            call.let_go()
            refusal = await intake.refusals.of_question(call, refusal)
            await call.write(questions.response(request_id=number, error=item_error(refusal)), is_let_go=True)
        else:
            intake.refusals.answered(call)
            await call.write(reply)
        places.release()

    try:
        async with asyncio.TaskGroup() as open_questions:
            ending = open_questions.create_task(intake.closing.wait())
            await places.acquire()
            await intake.refusals.turn(call)
            while (message := await _next(messages, ending)) is not None:
                open_questions.create_task(answer(message, call.handed_on()))
                del message  # its answer lets go of it, and that may be long before another is read
                await places.acquire()
                await intake.refusals.turn(call)
            ending.cancel()
    except BaseExceptionGroup as errors:
        # One is enough to end the call: a message that cannot be read, or a caller that has left.
        raise errors.exceptions[0] from None
    if call.deadline is not None and time.monotonic() >= call.deadline:
        raise DeadlineExceeded("the call's deadline passed before all its questions were answered")
    if intake.closing.is_set():
        raise Unavailable("the server is shutting down; ask what has no answer once more")


async def _next(messages: Messages, ending: asyncio.Task[bool]) -> Any:
    """The next message; None after the last one, and where `ending` is done first."""
    reading = asyncio.ensure_future(anext(messages, None))
    try:
        await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else None
    finally:
        if not reading.done():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _answer(
    message: Any, received: Received, questions: Questions, intake: Intake, call: Call
) -> Reply:
    """The answer to one question."""
    asked = await intake.checked(message, questions.asked, received)
    answer = await questions.answer(asked.request, call)  # type: ignore[attr-defined]  # as of every stream
    response = await questions.write(answer)
    envelope = questions.response(request_id=message.request_id, timing=_timing(answer.times))
    return Reply(envelope, response=response)


def _timing(times: JobTimes) -> stream_pb2.Timing | None:
    """What the answer to a question has taken until now."""
    timing = timing_of(times, time.monotonic())
    if timing is None:
        return None
    return stream_pb2.Timing(**{name: getattr(timing, name) for name in Timing.__slots__})
