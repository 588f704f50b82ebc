"""The calls of the gRPC services as values: what is sent and how its answer is read, for both clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel, ValidationError

from featsvc.twin import to_message, violations
from featsvc.twin.messages import numbers
from featsvc.v1 import clip_pb2, dino_pb2, model_pb2, sam2_pb2, schema
from featsvc_client import results
from featsvc_client.arguments import message_fields, parted, with_first
from featsvc_client.errors import FieldViolation, invalid
from featsvc_client.pictures import ImageLike, picture

Result = TypeVar("Result")


@dataclass(frozen=True)
class Operation(Generic[Result]):
    """One rpc: its path, the messages of both directions, and how an answer is read."""

    path: str
    request: type[ProtoMessage]
    reply: type[ProtoMessage]
    # Any: the reader takes an instance of `reply`, which a dataclass cannot say.
    read: Callable[[Any], Result]


@dataclass(frozen=True)
class Call(Generic[Result]):
    """A request ready to be sent."""

    operation: Operation[Result]
    request: ProtoMessage


CLIP_FEATURES = Operation(
    "/featsvc.v1.ClipService/ExtractFeatures",
    clip_pb2.ClipServiceExtractFeaturesRequest,
    clip_pb2.ClipServiceExtractFeaturesResponse,
    results.features,
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
)
GENERATE_MASKS = Operation(
    "/featsvc.v1.Sam2Service/GenerateMasks",
    sam2_pb2.GenerateMasksRequest,
    sam2_pb2.GenerateMasksResponse,
    results.masks,
)
PREDICT_MASKS = Operation(
    "/featsvc.v1.Sam2Service/PredictMasks",
    sam2_pb2.PredictMasksRequest,
    sam2_pb2.PredictMasksResponse,
    results.prompt_masks,
)
LIST_MODELS = Operation(
    "/featsvc.v1.ModelService/ListModels",
    model_pb2.ListModelsRequest,
    model_pb2.ListModelsResponse,
    lambda reply: tuple(reply.models),
)
LOAD_MODEL = Operation(
    "/featsvc.v1.ModelService/LoadModel",
    model_pb2.LoadModelRequest,
    model_pb2.LoadModelResponse,
    lambda reply: reply.model,
)
UNLOAD_MODEL = Operation(
    "/featsvc.v1.ModelService/UnloadModel",
    model_pb2.UnloadModelRequest,
    model_pb2.UnloadModelResponse,
    lambda reply: reply.model,
)
STATUS = Operation(
    "/featsvc.v1.ModelService/GetStatus",
    model_pb2.GetStatusRequest,
    model_pb2.GetStatusResponse,
    lambda reply: reply,
)


def about_picture(
    operation: Operation[Result], image: ImageLike, params: Mapping[str, object]
) -> Call[Result]:
    """A call that takes a picture and options."""
    return checked(operation, {"image": picture(image).source, "params": message_fields(params)})


def encode_text(texts: str | Sequence[str] | None, params: Mapping[str, object]) -> Call[results.Embeddings]:
    """A call that takes texts and options."""
    inside, options = parted(with_first(schema.Texts, texts, params), schema.Texts)
    return checked(ENCODE_TEXT, {"texts": inside, "params": message_fields(options)})


def similarity(
    image: ImageLike, texts: str | Sequence[str] | None, params: Mapping[str, object]
) -> Call[results.Similarity]:
    """A call that takes a picture, texts and options."""
    query, options = parted(with_first(schema.TextQuery, texts, params), schema.TextQuery)
    parts = {"image": picture(image).source, "query": query, "params": message_fields(options)}
    return checked(SIMILARITY, parts)


def predict_masks(
    image: ImageLike, prompts: Sequence[Mapping[str, Any]] | None, params: Mapping[str, object]
) -> Call[list[results.PromptMasks]]:
    """A call that takes a picture, prompts (or the fields of one among the options) and options."""
    single, options = parted(params, schema.Prompt)
    if prompts is not None and single:
        raise invalid(
            FieldViolation("prompts", f"give {', '.join(single)} inside them, or one prompt by keywords")
        )
    each = [single] if prompts is None else prompts
    parts = {
        "image": picture(image).source,
        "prompts": [message_fields(prompt) for prompt in each],
        "params": message_fields(options),
    }
    return checked(PREDICT_MASKS, parts)


def list_models(family: str | None, available_only: bool) -> Call[tuple[model_pb2.Model, ...]]:
    """A call for the catalog."""
    known = numbers(model_pb2.DESCRIPTOR.enum_types_by_name["Family"])
    if family is not None and family not in known:
        raise invalid(FieldViolation("family", f"{family!r} is none of {', '.join(known)}"))
    number = 0 if family is None else known[family]
    return Call(LIST_MODELS, LIST_MODELS.request(family=number, available_only=available_only))


def load_model(key: str) -> Call[model_pb2.Model]:
    """A call that loads a model."""
    return Call(LOAD_MODEL, LOAD_MODEL.request(key=key))


def unload_model(key: str) -> Call[model_pb2.Model]:
    """A call that frees a model."""
    return Call(UNLOAD_MODEL, UNLOAD_MODEL.request(key=key))


def status() -> Call[model_pb2.GetStatusResponse]:
    """A call for the state of the server."""
    return Call(STATUS, STATUS.request())


def checked(operation: Operation[Result], parts: Mapping[str, object]) -> Call[Result]:
    """The call with its request, checked by the contract's own classes, as the server will check it."""
    twin: type[BaseModel] = getattr(schema, operation.request.DESCRIPTOR.name)
    try:
        return Call(operation, to_message(twin.model_validate(parts), operation.request))
    except ValidationError as error:
        raise invalid(*violations(error)) from None
