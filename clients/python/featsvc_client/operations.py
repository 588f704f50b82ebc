"""The rpcs that the gRPC clients call: where each is, what it takes and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message as ProtoMessage

from featsvc.v1 import clip_pb2, dino_pb2, model_pb2, sam2_pb2
from featsvc_client import mask_results, results

Result = TypeVar("Result", covariant=True)
# Any: protobuf's generated classes share no type that has their fields.
Reply: TypeAlias = Any


@dataclass(frozen=True)
class Variant:
    """Another rpc that answers the same question in another way; its request wraps that of the plain one."""

    path: str
    request: type[ProtoMessage]
    reply: type[ProtoMessage]


@dataclass(frozen=True)
class Operation(Generic[Result]):
    """One rpc: its path, the messages of both directions, and how an answer is read."""

    path: str
    request: type[ProtoMessage]
    reply: type[ProtoMessage]
    read: Callable[..., Result]
    """Takes the reply and, where it came in pieces, the data of its tensor."""
    chunked: Variant | None = None
    """The rpc that answers in pieces."""
    stream: Variant | None = None
    """The rpc that takes many such questions."""
    one_by_one: Variant | None = None
    """The rpc that answers one mask a message."""


CLIP_FEATURES = Operation(
    "/featsvc.v1.ClipService/ExtractFeatures",
    clip_pb2.ClipServiceExtractFeaturesRequest,
    clip_pb2.ClipServiceExtractFeaturesResponse,
    results.features,
    Variant(
        "/featsvc.v1.ClipService/ExtractFeaturesChunked",
        clip_pb2.ClipServiceExtractFeaturesChunkedRequest,
        clip_pb2.ClipServiceExtractFeaturesChunkedResponse,
    ),
    Variant(
        "/featsvc.v1.ClipService/ExtractFeaturesStream",
        clip_pb2.ClipServiceExtractFeaturesStreamRequest,
        clip_pb2.ClipServiceExtractFeaturesStreamResponse,
    ),
)
ENCODE_TEXT = Operation(
    "/featsvc.v1.ClipService/EncodeText",
    clip_pb2.EncodeTextRequest,
    clip_pb2.EncodeTextResponse,
    results.embedded_texts,
)
SIMILARITY = Operation(
    "/featsvc.v1.ClipService/ComputeSimilarity",
    clip_pb2.ComputeSimilarityRequest,
    clip_pb2.ComputeSimilarityResponse,
    results.similarity,
)
ENCODE_IMAGE = Operation(
    "/featsvc.v1.ClipService/EncodeImage",
    clip_pb2.EncodeImageRequest,
    clip_pb2.EncodeImageResponse,
    results.embedded_picture,
)
DINO_FEATURES = Operation(
    "/featsvc.v1.DinoService/ExtractFeatures",
    dino_pb2.DinoServiceExtractFeaturesRequest,
    dino_pb2.DinoServiceExtractFeaturesResponse,
    results.features,
    Variant(
        "/featsvc.v1.DinoService/ExtractFeaturesChunked",
        dino_pb2.DinoServiceExtractFeaturesChunkedRequest,
        dino_pb2.DinoServiceExtractFeaturesChunkedResponse,
    ),
    Variant(
        "/featsvc.v1.DinoService/ExtractFeaturesStream",
        dino_pb2.DinoServiceExtractFeaturesStreamRequest,
        dino_pb2.DinoServiceExtractFeaturesStreamResponse,
    ),
)
GENERATE_MASKS = Operation(
    "/featsvc.v1.Sam2Service/GenerateMasks",
    sam2_pb2.GenerateMasksRequest,
    sam2_pb2.GenerateMasksResponse,
    mask_results.masks,
    one_by_one=Variant(
        "/featsvc.v1.Sam2Service/GenerateMasksStream",
        sam2_pb2.GenerateMasksStreamRequest,
        sam2_pb2.GenerateMasksStreamResponse,
    ),
)
PREDICT_MASKS = Operation(
    "/featsvc.v1.Sam2Service/PredictMasks",
    sam2_pb2.PredictMasksRequest,
    sam2_pb2.PredictMasksResponse,
    mask_results.prompt_masks,
    stream=Variant(
        "/featsvc.v1.Sam2Service/PredictMasksStream",
        sam2_pb2.PredictMasksStreamRequest,
        sam2_pb2.PredictMasksStreamResponse,
    ),
)
EMBED_IMAGE = Operation(
    "/featsvc.v1.Sam2Service/EmbedImage",
    sam2_pb2.EmbedImageRequest,
    sam2_pb2.EmbedImageResponse,
    results.embedded,
)


def _models(reply: Reply) -> tuple[model_pb2.Model, ...]:
    return tuple(reply.models)


def _model(reply: Reply) -> model_pb2.Model:
    model: model_pb2.Model = reply.model
    return model


def _whole(reply: Reply) -> model_pb2.GetStatusResponse:
    status: model_pb2.GetStatusResponse = reply
    return status


LIST_MODELS = Operation(
    "/featsvc.v1.ModelService/ListModels", model_pb2.ListModelsRequest, model_pb2.ListModelsResponse, _models
)
LOAD_MODEL = Operation(
    "/featsvc.v1.ModelService/LoadModel", model_pb2.LoadModelRequest, model_pb2.LoadModelResponse, _model
)
UNLOAD_MODEL = Operation(
    "/featsvc.v1.ModelService/UnloadModel",
    model_pb2.UnloadModelRequest,
    model_pb2.UnloadModelResponse,
    _model,
)
STATUS = Operation(
    "/featsvc.v1.ModelService/GetStatus", model_pb2.GetStatusRequest, model_pb2.GetStatusResponse, _whole
)
