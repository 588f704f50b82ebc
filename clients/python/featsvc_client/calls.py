"""The calls of the gRPC services as values: what is sent and how its answer is read, for both clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message as ProtoMessage
from pydantic import ValidationError

from featsvc.twin import to_message, violations
from featsvc.twin.messages import numbers
from featsvc.twin.methods import question_field, twin_of
from featsvc.v1 import model_pb2, schema
from featsvc_client import operations, results
from featsvc_client.arguments import message_fields, parted, with_first
from featsvc_client.errors import FieldViolation, invalid
from featsvc_client.mask_results import PromptMasks
from featsvc_client.object_results import FoundObjects, Objects
from featsvc_client.object_sources import object_query, object_source
from featsvc_client.operations import Rpc, Variant
from featsvc_client.pictures import ImageLike, Picture, picture

Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class Call(Generic[Result]):
    """A question ready to be sent."""

    operation: Rpc[Result]
    request: Callable[[str], ProtoMessage]
    """Makes the request: with the file of its picture, or with the digest that is given instead."""
    picture: Picture | None = None

    def serialised(self, digest: str = "", variant: Variant | None = None, **beside: str) -> bytes:
        """The bytes to send, wrapped as another rpc takes them, with its other fields beside the question."""
        request = self.request(digest)
        # Any: protobuf's constructors take fields by name.
        wrapper: Any = None if variant is None else variant.request
        return (request if wrapper is None else wrapper(request=request, **beside)).SerializeToString()


def about_picture(operation: Rpc[Result], image: ImageLike, params: Mapping[str, object]) -> Call[Result]:
    """A call that takes a picture and options."""
    said, options = parted(params, schema.Image)
    return checked(operation, {"params": message_fields(options)}, picture(image), said)


def encode_text(texts: str | Sequence[str] | None, params: Mapping[str, object]) -> Call[results.Embeddings]:
    """A call that takes texts and options."""
    inside, options = parted(with_first(schema.Texts, texts, params), schema.Texts)
    return checked(operations.ENCODE_TEXT, {"texts": inside, "params": message_fields(options)})


def similarity(
    image: ImageLike, texts: str | Sequence[str] | None, params: Mapping[str, object]
) -> Call[results.Similarity]:
    """A call that takes a picture, texts and options."""
    said, others = parted(with_first(schema.TextQuery, texts, params), schema.Image)
    query, options = parted(others, schema.TextQuery)
    parts = {"query": query, "params": message_fields(options)}
    return checked(operations.SIMILARITY, parts, picture(image), said)


def predict_masks(
    image: ImageLike, prompts: Sequence[Mapping[str, Any]] | None, params: Mapping[str, object]
) -> Call[list[PromptMasks]]:
    """A call that takes a picture, prompts (or the fields of one among the options) and options."""
    said, others = parted(params, schema.Image)
    single, options = parted(others, schema.Prompt)
    if prompts is not None and single:
        raise invalid(
            FieldViolation("prompts", f"give {', '.join(single)} inside them, or one prompt by keywords")
        )
    each = [single] if prompts is None else prompts
    parts = {
        "prompts": [message_fields(prompt) for prompt in each],
        "params": message_fields(options),
    }
    return checked(operations.PREDICT_MASKS, parts, picture(image), said)


def describe_objects(image: ImageLike, params: Mapping[str, object]) -> Call[Objects]:
    """A call that takes a picture, where its objects come from, and options."""
    said, others = parted(params, schema.Image)
    own, options = parted(others, schema.ObjectSource)
    parts: dict[str, object] = {"params": message_fields(options)}
    if source := object_source(own):
        parts["source"] = source
    return checked(operations.DESCRIBE_OBJECTS, parts, picture(image), said)


def find_objects(
    image: ImageLike, texts: str | Sequence[str] | None, params: Mapping[str, object]
) -> Call[FoundObjects]:
    """A call that takes a picture, what to look for, where objects come from, and options."""
    said, others = parted(with_first(schema.ObjectQuery, texts, params), schema.Image)
    query, rest = parted(others, schema.ObjectQuery)
    own, options = parted(rest, schema.ObjectSource)
    parts: dict[str, object] = {"query": object_query(query), "params": message_fields(options)}
    if source := object_source(own):
        parts["source"] = source
    return checked(operations.FIND_OBJECTS, parts, picture(image), said)


def sought(
    texts: str | Sequence[str] | None, params: Mapping[str, object], image: ImageLike
) -> Call[FoundObjects]:
    """A call about one of many pictures in which the same is looked for."""
    return find_objects(image, texts, params)


def prompted(
    common: Sequence[Mapping[str, Any]] | None,
    params: Mapping[str, object],
    image: ImageLike,
    own: Sequence[Mapping[str, Any]] | None = None,
) -> Call[list[PromptMasks]]:
    """A call about one of many pictures, with prompts of its own or those that all have in common."""
    return predict_masks(image, common if own is None else own, params)


def estimate(question: Call[object]) -> Call[results.Estimate]:
    """A call for what another call would cost."""
    name = question_field(question.operation.request.DESCRIPTOR)
    if name is None:
        raise invalid(FieldViolation("method", "asks no model, so there is nothing to estimate"))
    return Call(
        operations.ESTIMATE,
        lambda digest: operations.ESTIMATE.request(**{name: question.request(digest)}),
        question.picture,
    )


def list_models(family: str | None, available_only: bool) -> Call[tuple[model_pb2.Model, ...]]:
    """A call for the catalog."""
    known = numbers(model_pb2.DESCRIPTOR.enum_types_by_name["Family"])
    if family is not None and family not in known:
        raise invalid(FieldViolation("family", f"{family!r} is none of {', '.join(known)}"))
    number = 0 if family is None else known[family]
    request = operations.LIST_MODELS.request(family=number, available_only=available_only)
    return Call(operations.LIST_MODELS, lambda _: request)


def load_model(key: str) -> Call[model_pb2.Model]:
    """A call that loads a model."""
    return Call(operations.LOAD_MODEL, lambda _: model_pb2.LoadModelRequest(key=key))


def unload_model(key: str) -> Call[model_pb2.Model]:
    """A call that frees a model."""
    return Call(operations.UNLOAD_MODEL, lambda _: model_pb2.UnloadModelRequest(key=key))


def drain(grace_s: float | None) -> Call[model_pb2.DrainResponse]:
    """A call that has the server finish what it has, and end."""
    return Call(operations.DRAIN, lambda _: model_pb2.DrainRequest(grace_s=grace_s))


def caller() -> Call[model_pb2.GetCallerResponse]:
    """A call for what the server knows of the caller's key."""
    return Call(operations.CALLER, lambda _: model_pb2.GetCallerRequest())


def status() -> Call[model_pb2.GetStatusResponse]:
    """A call for the state of the server."""
    return Call(operations.STATUS, lambda _: model_pb2.GetStatusRequest())


def checked(
    operation: Rpc[Result],
    parts: Mapping[str, object],
    image: Picture | None = None,
    said: Mapping[str, object] | None = None,
) -> Call[Result]:
    """The call with its request, checked by the contract's own classes, as the server will check it.

    `said` is what the caller says of the picture.
    """
    beside = dict(said or {})
    twin = twin_of(operation.request.DESCRIPTOR)
    try:
        question = twin.model_validate(parts if image is None else {"image": image.source | beside, **parts})
    except ValidationError as error:
        raise invalid(*violations(error, twin)) from None

    def request(digest: str) -> ProtoMessage:
        named = {"image": schema.Image.model_validate({"digest": digest, **beside})} if digest else {}
        return to_message(question.model_copy(update=named), operation.request)

    return Call(operation, request, image)
