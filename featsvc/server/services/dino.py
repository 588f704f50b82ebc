"""featsvc.v1.DinoService."""

from __future__ import annotations

from featsvc.server.services.features import FeatureMessages, FeatureService
from featsvc.v1 import dino_pb2, dino_pb2_grpc, schema


class DinoService(FeatureService, dino_pb2_grpc.DinoServiceServicer):
    """Self-supervised features of pictures."""

    messages = FeatureMessages(
        operation="dino.extract_features",
        request=schema.DinoServiceExtractFeaturesRequest,
        chunked_request=schema.DinoServiceExtractFeaturesChunkedRequest,
        stream_request=schema.DinoServiceExtractFeaturesStreamRequest,
        response=dino_pb2.DinoServiceExtractFeaturesResponse,
        chunked_response=dino_pb2.DinoServiceExtractFeaturesChunkedResponse,
        stream_response=dino_pb2.DinoServiceExtractFeaturesStreamResponse,
    )
