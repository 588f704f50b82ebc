"""featsvc.v1.ClipService."""

from __future__ import annotations

from grpc.aio import ServicerContext as Context

from featsvc.engines.item import Item
from featsvc.server.intake import Intake
from featsvc.server.services.replies import geometry, tensor
from featsvc.v1 import clip_pb2, clip_pb2_grpc, schema


class ClipService(clip_pb2_grpc.ClipServiceServicer):
    """Features of pictures and texts in one space."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def ExtractFeatures(
        self, request: clip_pb2.ClipServiceExtractFeaturesRequest, context: Context
    ) -> clip_pb2.ClipServiceExtractFeaturesResponse:
        """Dense features."""
        asked = await self._intake.checked(request, schema.ClipServiceExtractFeaturesRequest)
        item = Item(image=await self._intake.picture(asked.image))
        result, model = await self._intake.answer("clip.extract_features", asked.params, item, context)
        return clip_pb2.ClipServiceExtractFeaturesResponse(
            features=await tensor(result.features),
            is_pca=result.is_pca,
            geometry=geometry(result.geometry),
            model=model,
        )

    async def EncodeText(
        self, request: clip_pb2.EncodeTextRequest, context: Context
    ) -> clip_pb2.EncodeTextResponse:
        """Text embeddings."""
        asked = await self._intake.checked(request, schema.EncodeTextRequest)
        item = Item(texts=asked.texts)
        result, model = await self._intake.answer("clip.encode_text", asked.params, item, context)
        return clip_pb2.EncodeTextResponse(text_embedding=await tensor(result.embeddings), model=model)

    async def ComputeSimilarity(
        self, request: clip_pb2.ComputeSimilarityRequest, context: Context
    ) -> clip_pb2.ComputeSimilarityResponse:
        """Maps of similarity to texts."""
        asked = await self._intake.checked(request, schema.ComputeSimilarityRequest)
        item = Item(image=await self._intake.picture(asked.image), texts=asked.query)
        result, model = await self._intake.answer("clip.compute_similarity", asked.params, item, context)
        return clip_pb2.ComputeSimilarityResponse(
            similarity_map=await tensor(result.similarity_map),
            geometry=geometry(result.geometry),
            model=model,
        )

    async def EncodeImage(
        self, request: clip_pb2.EncodeImageRequest, context: Context
    ) -> clip_pb2.EncodeImageResponse:
        """The embedding of a whole picture."""
        asked = await self._intake.checked(request, schema.EncodeImageRequest)
        item = Item(image=await self._intake.picture(asked.image))
        result, model = await self._intake.answer("clip.encode_image", asked.params, item, context)
        return clip_pb2.EncodeImageResponse(image_embedding=await tensor(result.embeddings), model=model)
