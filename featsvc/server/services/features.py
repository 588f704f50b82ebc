"""ExtractFeatures and its variants, which CLIP and DINO have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel

from featsvc.server.calls.call import Call
from featsvc.server.calls.reply import Reply, flat
from featsvc.server.services import replies
from featsvc.server.services.intake import Intake
from featsvc.server.services.replies import Beside, geometry, tensor, tensor_head
from featsvc.server.services.streams import Messages, Questions, answer_each
from featsvc.v1 import tensor_pb2
from featsvc.work.results import Features

# Larger ones are slower (16 MB by 1 MiB took 14 ms, by 4 MiB 34), and each holds the event loop while it is copied.
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class FeatureMessages:
    """The operation of one service, its requests' twins and its replies."""

    operation: str
    request: type[BaseModel]
    chunked_request: type[BaseModel]
    stream_request: type[BaseModel]
    # Any: the two services' messages have the same fields, but no class in common that says so.
    response: Any
    chunked_response: Any
    stream_response: Any


@dataclass(frozen=True)
class Answer:
    """Features, and the reply but for them."""

    result: Features
    message: ProtoMessage

    def whole(self) -> Reply:
        """The reply in one message."""
        return Reply(
            self.message, features=tensor(self.result.features, self.result.dtype), **self._rounding()
        )

    def head(self) -> Reply:
        """The reply without the elements of its features."""
        head = tensor_head(self.result.features, self.result.dtype)
        return Reply(self.message, features=Reply(head), **self._rounding())

    def _rounding(self) -> Beside:
        rounding = self.result.rounding
        return {} if rounding is None else {"rounding": replies.rounding(rounding)}


class FeatureService:
    """Dense features of pictures."""

    messages: ClassVar[FeatureMessages]

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def ExtractFeatures(self, request: ProtoMessage, call: Call) -> Reply:
        """Dense features."""
        asked = await self._intake.checked(request, self.messages.request)
        return (await self._answered(asked, call)).whole()

    async def ExtractFeaturesChunked(self, request: ProtoMessage, call: Call) -> None:
        """Dense features in pieces."""
        # Any: see FeatureMessages.
        asked: Any = await self._intake.checked(request, self.messages.chunked_request)
        await self._write_pieces(await self._answered(asked.request, call, chunked=True), call)

    async def ExtractFeaturesStream(self, requests: Messages, call: Call) -> None:
        """Dense features of many pictures."""

        async def answer(asked: BaseModel, call: Call) -> Reply:
            return (await self._answered(asked, call)).whole()

        questions = Questions(self.messages.stream_request, self.messages.stream_response, answer)
        await answer_each(requests, questions, self._intake, call)

    async def _answered(self, asked: Any, call: Call, chunked: bool = False) -> Answer:
        item = await self._intake.item(asked.image, call, chunked=chunked)
        result, model = await self._intake.answer(self.messages.operation, asked.params, item, call)
        message = self.messages.response(
            is_pca=result.is_pca,
            geometry=geometry(result.geometry),
            model=model,
            image_digest=item.digest,
            image_orientation=result.orientation,
        )
        return Answer(result, message)

    async def _write_pieces(self, answer: Answer, call: Call) -> None:
        response, array = self.messages.chunked_response, answer.result.features
        if array.nbytes <= CHUNK:
            await call.write(Reply(response(), reply=answer.whole()))
            return
        await call.write(Reply(response(), reply=answer.head()))
        view = flat(array)
        for offset in range(0, len(view), CHUNK):
            chunk = Reply(tensor_pb2.TensorChunk(offset=offset), data=view[offset : offset + CHUNK])
            await call.write(Reply(response(), chunk=chunk))
