"""featsvc.v1.ClipService."""

from __future__ import annotations

from featsvc.server.calls.call import Call
from featsvc.server.calls.reply import Reply
from featsvc.server.services.features import FeatureMessages, FeatureService
from featsvc.server.services.replies import geometry, tensor
from featsvc.v1 import clip_pb2, clip_pb2_grpc, schema
from featsvc.work.item import Item


class ClipService(FeatureService, clip_pb2_grpc.ClipServiceServicer):
    """Features of pictures and texts in one space."""

    messages = FeatureMessages(
        operation="clip.extract_features",
        request=schema.ClipServiceExtractFeaturesRequest,
        chunked_request=schema.ClipServiceExtractFeaturesChunkedRequest,
        stream_request=schema.ClipServiceExtractFeaturesStreamRequest,
        response=clip_pb2.ClipServiceExtractFeaturesResponse,
        chunked_response=clip_pb2.ClipServiceExtractFeaturesChunkedResponse,
        stream_response=clip_pb2.ClipServiceExtractFeaturesStreamResponse,
    )

    async def EncodeText(self, request: clip_pb2.EncodeTextRequest, call: Call) -> Reply:
        """Text embeddings."""
        asked = await self._intake.checked(request, schema.EncodeTextRequest)
        item = Item(texts=asked.texts)
        result, model = await self._intake.answer("clip.encode_text", asked.params, item, call)
        return Reply(clip_pb2.EncodeTextResponse(model=model), text_embedding=tensor(result.embeddings))

    async def ComputeSimilarity(self, request: clip_pb2.ComputeSimilarityRequest, call: Call) -> Reply:
        """Maps of similarity to texts."""
        asked = await self._intake.checked(request, schema.ComputeSimilarityRequest)
        item = await self._intake.item(asked.image, call, texts=asked.query)
        result, model = await self._intake.answer("clip.compute_similarity", asked.params, item, call)
        message = clip_pb2.ComputeSimilarityResponse(
            geometry=geometry(result.geometry),
            model=model,
            image_digest=item.digest,
            image_orientation=result.orientation,
        )
        return Reply(message, similarity_map=tensor(result.similarity_map))

    async def EncodeImage(self, request: clip_pb2.EncodeImageRequest, call: Call) -> Reply:
        """The embedding of a whole picture."""
        asked = await self._intake.checked(request, schema.EncodeImageRequest)
        item = await self._intake.item(asked.image, call)
        result, model = await self._intake.answer("clip.encode_image", asked.params, item, call)
        message = clip_pb2.EncodeImageResponse(
            model=model, image_digest=item.digest, image_orientation=result.orientation
        )
        return Reply(message, image_embedding=tensor(result.embeddings))
