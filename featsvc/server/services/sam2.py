"""featsvc.v1.Sam2Service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from featsvc.server.calls.call import Call
from featsvc.server.calls.reply import Reply
from featsvc.server.services import replies
from featsvc.server.services.intake import Intake
from featsvc.server.services.streams import Messages, Questions, answer_each
from featsvc.v1 import sam2_pb2, sam2_pb2_grpc, schema
from featsvc.work.results import MaskList, PromptMasks


class Sam2Service(sam2_pb2_grpc.Sam2ServiceServicer):
    """Masks of pictures."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def GenerateMasks(self, request: sam2_pb2.GenerateMasksRequest, call: Call) -> Reply:
        """Masks of everything in a picture."""
        asked = await self._intake.checked(request, schema.GenerateMasksRequest)
        result, model, digest = await self._generated(asked, call)
        message = sam2_pb2.GenerateMasksResponse(
            height=result.height,
            width=result.width,
            model=model,
            image_digest=digest,
            image_orientation=result.orientation,
        )
        # Thousands of small masks take long to write down, however few bytes they have.
        masks = await asyncio.to_thread(lambda: [replies.mask(each) for each in result.masks])
        return replies.about_all(result, message, masks=[*masks])

    async def GenerateMasksStream(self, request: sam2_pb2.GenerateMasksStreamRequest, call: Call) -> None:
        """The same, mask by mask."""
        asked = await self._intake.checked(request, schema.GenerateMasksStreamRequest)
        result, model, digest = await self._generated(asked.request, call, chunked=True)
        for each in result.masks:
            await call.write(Reply(sam2_pb2.GenerateMasksStreamResponse(), mask=replies.mask(each)))
        summary = sam2_pb2.MasksSummary(
            count=len(result.masks),
            height=result.height,
            width=result.width,
            model=model,
            image_digest=digest,
            image_orientation=result.orientation,
        )
        last = replies.about_all(result, summary)
        await call.write(Reply(sam2_pb2.GenerateMasksStreamResponse(), summary=last))

    async def PredictMasks(self, request: sam2_pb2.PredictMasksRequest, call: Call) -> Reply:
        """Masks of what the prompts point at."""
        asked = await self._intake.checked(request, schema.PredictMasksRequest)
        return await self._predicted(asked, call)

    async def PredictMasksStream(self, requests: Messages, call: Call) -> None:
        """The same for many pictures or prompts."""
        questions = Questions(
            schema.PredictMasksStreamRequest, sam2_pb2.PredictMasksStreamResponse, self._predicted
        )
        await answer_each(requests, questions, self._intake, call)

    async def EmbedImage(
        self, request: sam2_pb2.EmbedImageRequest, call: Call
    ) -> sam2_pb2.EmbedImageResponse:
        """Encodes a picture ahead of the first question about it."""
        asked = await self._intake.checked(request, schema.EmbedImageRequest)
        item = await self._intake.item(asked.image, call)
        result, model = await self._intake.answer("sam2.embed_image", asked.params, item, call)
        return sam2_pb2.EmbedImageResponse(
            image_digest=item.digest,
            size_bytes=result.nbytes,
            was_cached=result.cached,
            height=result.height,
            width=result.width,
            model=model,
            image_orientation=result.orientation,
        )

    async def _generated(
        self, asked: schema.GenerateMasksRequest, call: Call, chunked: bool = False
    ) -> tuple[MaskList, str, str]:
        item = await self._intake.item(asked.image, call, chunked=chunked)
        result, model = await self._intake.answer("sam2.generate_masks", asked.params, item, call)
        return result, model, item.digest

    async def _predicted(self, asked: schema.PredictMasksRequest, call: Call) -> Reply:
        prompts = asked.prompts or (schema.Prompt(),)
        item = await self._intake.item(asked.image, call, prompts=prompts)
        result: Sequence[PromptMasks]
        result, model = await self._intake.answer("sam2.predict_masks", asked.params, item, call)
        message = sam2_pb2.PredictMasksResponse(
            height=result[0].height,
            width=result[0].width,
            model=model,
            image_digest=item.digest,
            image_orientation=result[0].orientation,
        )
        return Reply(message, results=[replies.prompt_masks(each) for each in result])
