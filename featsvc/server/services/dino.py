"""featsvc.v1.DinoService."""

from __future__ import annotations

import grpc

from featsvc.engines.item import Item
from featsvc.server.intake import Intake
from featsvc.server.services.replies import geometry, tensor
from featsvc.v1 import dino_pb2, dino_pb2_grpc, schema


class DinoService(dino_pb2_grpc.DinoServiceServicer):
    """Self-supervised features of pictures."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def ExtractFeatures(
        self, request: dino_pb2.DinoServiceExtractFeaturesRequest, context: grpc.aio.ServicerContext
    ) -> dino_pb2.DinoServiceExtractFeaturesResponse:
        """Dense features."""
        asked = await self._intake.checked(request, schema.DinoServiceExtractFeaturesRequest)
        item = Item(image=await self._intake.picture(asked.image))
        result, model = await self._intake.answer("dino.extract_features", asked.params, item, context)
        return dino_pb2.DinoServiceExtractFeaturesResponse(
            features=await tensor(result.features),
            is_pca=result.is_pca,
            geometry=geometry(result.geometry),
            model=model,
        )
