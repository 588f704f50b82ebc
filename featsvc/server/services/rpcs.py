"""The methods of an operation: its plain one, and those that answer it in pieces, in parts or many at once.

They follow from the contract and from the operation's line in the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc

from featsvc.server.calls.call import Call
from featsvc.server.calls.reply import Reply, flat
from featsvc.server.services import replies
from featsvc.server.services.intake import Answer, Intake
from featsvc.server.services.streams import Messages, Questions, answer_each
from featsvc.twin.methods import (
    MessageClass,
    MethodDescriptor,
    message_class,
    method_of,
    parts_of,
    tensor_field,
    twin_of,
    variants,
)
from featsvc.v1 import tensor_pb2
from featsvc.work.operations import AnyOperation
from featsvc.work.results import Result

# Larger ones are slower (16 MB by 1 MiB took 14 ms, by 4 MiB 34), and each holds the event loop while it is copied.
CHUNK = 1024 * 1024
MANY = 64
"""So many messages in a reply take longer to write than a thread to start."""


class OperationMethods:
    """Each method decodes, submits and encodes. Any: generated messages and their twins, by their fields."""

    def __init__(self, operation: AnyOperation, intake: Intake) -> None:
        self._operation = operation
        self._intake = intake
        self._plain = method_of(operation.rpc)
        self._response: MessageClass = message_class(self._plain.output_type)

    def handlers(self) -> dict[str, Any]:  # Any: grpc is untyped
        """A handler for each method, by its name."""
        return {method.name: handler for method, handler in self._handlers()}

    def _handlers(self) -> Iterator[tuple[MethodDescriptor, Any]]:
        found = variants(self._plain)
        for method, act, handler in (
            (self._plain, self._answer_whole, grpc.unary_unary_rpc_method_handler),
            (found.pieces, self._answer_in_pieces, grpc.unary_stream_rpc_method_handler),
            (found.parts, self._answer_in_parts, grpc.unary_stream_rpc_method_handler),
            (found.stream, self._answer_many, grpc.stream_stream_rpc_method_handler),
        ):
            if method is not None:
                yield method, handler(partial(act, method), message_class(method.input_type).FromString)

    async def _answer_whole(self, method: MethodDescriptor, request: Any, call: Call) -> Reply:
        asked = await self._intake.checked(request, twin_of(method.input_type))
        return await self._reply(asked, call)

    async def _answer_many(self, method: MethodDescriptor, requests: Messages, call: Call) -> None:
        questions = Questions(twin_of(method.input_type), message_class(method.output_type), self._reply)
        await answer_each(requests, questions, self._intake, call)

    async def _answer_in_pieces(self, method: MethodDescriptor, request: Any, call: Call) -> None:
        piece = message_class(method.output_type)
        answer = await self._question_answered(method, request, call)
        array = getattr(answer.result, tensor_field(self._plain.output_type).name)
        if array.nbytes <= CHUNK:
            await call.write(Reply(piece(), reply=self._written(answer)))
            return
        head = replies.of_result(answer.result, self._response(**answer.facts), as_head=True)
        await call.write(Reply(piece(), reply=head))
        view = flat(array)
        for offset in range(0, len(view), CHUNK):
            chunk = Reply(tensor_pb2.TensorChunk(offset=offset), data=view[offset : offset + CHUNK])
            await call.write(Reply(piece(), chunk=chunk))

    async def _answer_in_parts(self, method: MethodDescriptor, request: Any, call: Call) -> None:
        part, fields = message_class(method.output_type), parts_of(self._plain, method)
        answer = await self._question_answered(method, request, call)
        for each in getattr(answer.result, fields.many.name):
            await call.write(Reply(part(), **{fields.one.name: replies.written(each)}))
        summary = message_class(fields.last.message_type)(**answer.facts)
        await call.write(Reply(part(), **{fields.last.name: replies.of_result(answer.result, summary)}))

    async def _question_answered(self, method: MethodDescriptor, request: Any, call: Call) -> Answer[Result]:
        asked: Any = await self._intake.checked(request, twin_of(method.input_type))
        return await self._intake.answer(self._operation, asked.request, call, chunked=True)

    async def _reply(self, asked: Any, call: Call) -> Reply:
        answer = await self._intake.answer(self._operation, asked, call)
        if replies.count_of(answer.result) > MANY:
            return await asyncio.to_thread(self._written, answer)
        return self._written(answer)

    def _written(self, answer: Answer[Result]) -> Reply:
        return replies.of_result(answer.result, self._response(**answer.facts))
