"""The methods of an operation: its plain one, and those that answer it in chunks, one by one or many at once.

They follow from the contract and from the operation's line in the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import grpc
from pydantic import BaseModel

from featsvc.server.calls.call import Call
from featsvc.server.calls.reply import Reply, flat
from featsvc.server.services import replies
from featsvc.server.services.intake import Answer, Intake
from featsvc.server.services.streams import Messages, Questions, answer_each
from featsvc.twin.methods import (
    ListFields,
    MessageClass,
    MethodDescriptor,
    list_fields,
    message_class,
    method_of,
    tensor_field,
    twin_of,
    variants,
)
from featsvc.v1 import tensor_pb2
from featsvc.work.operations import AnyOperation
from featsvc.work.results import Result

# Larger ones are slower (16 MB by 1 MiB took 14 ms, by 4 MiB 34), and each holds the event loop while it is copied.
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Classes:
    """The messages of a method, looked up once."""

    request: MessageClass
    twin: type[BaseModel]
    response: MessageClass

    @classmethod
    def of(cls, method: MethodDescriptor) -> Self:
        """Those of a method."""
        return cls(
            message_class(method.input_type), twin_of(method.input_type), message_class(method.output_type)
        )


class OperationMethods:
    """Each method decodes, submits and encodes. Any: generated messages and their twins, by their fields.

    Raises LookupError where the contract has a reply that the operation's result does not fill.
    """

    def __init__(self, operation: AnyOperation, intake: Intake) -> None:
        self._operation = operation
        self._intake = intake
        self._plain = method_of(operation.rpc)
        self._response = replies.ReplyClass(
            message_class(self._plain.output_type), operation.result, replies.FACTS
        )

    def handlers(self) -> dict[str, Any]:  # Any: grpc is untyped
        """A handler for each method, by its name."""
        return dict(self._handlers())

    def _handlers(self) -> Iterator[tuple[str, Any]]:
        plain, others = self._plain, variants(self._plain)
        classes = Classes.of(plain)
        yield plain.name, _handler(grpc.unary_unary_rpc_method_handler, self._answer_whole, classes)
        if others.chunked is not None:
            tensor = tensor_field(plain.output_type).name
            act = partial(self._answer_in_chunks, tensor)
            yield (
                others.chunked.name,
                _handler(grpc.unary_stream_rpc_method_handler, act, Classes.of(others.chunked)),
            )
        if others.one_by_one is not None:
            fields = list_fields(plain, others.one_by_one)
            summary = replies.ReplyClass(
                message_class(fields.last.message_type), self._operation.result, replies.FACTS
            )
            act = partial(self._answer_one_by_one, fields, summary)
            yield (
                others.one_by_one.name,
                _handler(grpc.unary_stream_rpc_method_handler, act, Classes.of(others.one_by_one)),
            )
        if others.stream is not None:
            yield (
                others.stream.name,
                _handler(grpc.stream_stream_rpc_method_handler, self._answer_many, Classes.of(others.stream)),
            )

    async def _answer_whole(self, classes: Classes, request: Any, call: Call) -> Reply:
        asked: Any = await self._intake.checked(request, classes.twin, call.handed_on())
        return await self._reply(await self._intake.answer(self._operation, asked, call))

    async def _answer_many(self, classes: Classes, requests: Messages, call: Call) -> None:
        answer = partial(self._intake.answer, self._operation)
        questions = Questions(classes.twin, classes.response, answer, self._reply)
        await answer_each(requests, questions, self._intake, call)

    async def _answer_in_chunks(self, tensor: str, classes: Classes, request: Any, call: Call) -> None:
        answer = await self._answered_in_parts(classes, request, call)
        array = getattr(answer.result, tensor)
        is_small = array.nbytes <= CHUNK
        head = self._response.written(answer.result, answer.facts, without_data=not is_small)
        await call.write(Reply(classes.response(), reply=head))
        if is_small:
            return
        view = flat(array)
        for offset in range(0, len(view), CHUNK):
            chunk = Reply(tensor_pb2.TensorChunk(offset=offset), data=view[offset : offset + CHUNK])
            await call.write(Reply(classes.response(), chunk=chunk))

    async def _answer_one_by_one(
        self, fields: ListFields, summary: replies.ReplyClass, classes: Classes, request: Any, call: Call
    ) -> None:
        answer = await self._answered_in_parts(classes, request, call)
        one, last = fields.one.name, fields.last.name
        for each in getattr(answer.result, fields.many.name):
            await call.write(Reply(classes.response(), **{one: replies.written(each)}))
        await call.write(Reply(classes.response(), **{last: summary.written(answer.result, answer.facts)}))

    async def _answered_in_parts(self, classes: Classes, request: Any, call: Call) -> Answer[Result]:
        asked: Any = await self._intake.checked(request, classes.twin, call.handed_on())
        answer = await self._intake.answer(self._operation, asked.request, call, chunked=True)
        await call.tell_timing()
        return answer

    async def _reply(self, answer: Answer[Result]) -> Reply:
        if replies.takes_long(answer.result):
            return await asyncio.to_thread(self._response.written, answer.result, answer.facts)
        return self._response.written(answer.result, answer.facts)


def _handler(kind: Any, act: Any, classes: Classes) -> Any:  # Any: grpc is untyped
    return kind(partial(act, classes), classes.request.FromString)
