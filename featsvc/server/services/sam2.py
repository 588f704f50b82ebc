"""featsvc.v1.Sam2Service."""

from __future__ import annotations

from collections.abc import Sequence

from grpc.aio import ServicerContext as Context

from featsvc.engines.item import Item
from featsvc.engines.results import MaskList, PromptMasks
from featsvc.server.intake import Intake
from featsvc.server.services import replies
from featsvc.twin.arrays import to_tensor
from featsvc.v1 import sam2_pb2, sam2_pb2_grpc, schema


class Sam2Service(sam2_pb2_grpc.Sam2ServiceServicer):
    """Masks of pictures."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def GenerateMasks(
        self, request: sam2_pb2.GenerateMasksRequest, context: Context
    ) -> sam2_pb2.GenerateMasksResponse:
        """Masks of everything in a picture."""
        asked = await self._intake.checked(request, schema.GenerateMasksRequest)
        item = Item(image=await self._intake.picture(asked.image))
        result, model = await self._intake.answer("sam2.generate_masks", asked.params, item, context)
        nbytes = result.height * result.width * len(result.masks)
        return await replies.encoded(nbytes, _generated, result, model)

    async def PredictMasks(
        self, request: sam2_pb2.PredictMasksRequest, context: Context
    ) -> sam2_pb2.PredictMasksResponse:
        """Masks of what the prompts point at."""
        asked = await self._intake.checked(request, schema.PredictMasksRequest)
        prompts = asked.prompts or (schema.Prompt(),)
        item = Item(image=await self._intake.picture(asked.image), prompts=prompts)
        result, model = await self._intake.answer("sam2.predict_masks", asked.params, item, context)
        nbytes = result[0].height * result[0].width * len(result)
        return await replies.encoded(nbytes, _predicted, result, model)


def _generated(result: MaskList, model: str) -> sam2_pb2.GenerateMasksResponse:
    return sam2_pb2.GenerateMasksResponse(
        masks=[replies.mask(each) for each in result.masks],
        height=result.height,
        width=result.width,
        model=model,
        label_map=None if result.label_map is None else to_tensor(result.label_map),
    )


def _predicted(result: Sequence[PromptMasks], model: str) -> sam2_pb2.PredictMasksResponse:
    return sam2_pb2.PredictMasksResponse(
        results=[replies.prompt_masks(each) for each in result],
        height=result[0].height,
        width=result[0].width,
        model=model,
    )
