"""The rpcs that the gRPC clients call: where each is, what it takes and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message as ProtoMessage

from featsvc.twin import methods
from featsvc.twin.methods import MethodDescriptor, message_class, method_of, path_of, variants
from featsvc.v1 import model_pb2
from featsvc.work import operations as table
from featsvc_client import mask_results, object_results, pyramid_results, results
from featsvc_client.results import Beside

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
class Rpc(Generic[Result]):
    """One rpc, and how its answer is read; the contract says the rest."""

    path: str
    read: Callable[[Reply, Beside], Result]
    """Takes the reply, and what came beside it."""

    @cached_property
    def request(self) -> type[ProtoMessage]:
        """What it takes."""
        return _called(self.path).request

    @cached_property
    def reply(self) -> type[ProtoMessage]:
        """What it answers."""
        return _called(self.path).reply

    @cached_property
    def chunked(self) -> Variant | None:
        """The rpc that answers in chunks."""
        return _variant(variants(method_of(self.path)).chunked)

    @cached_property
    def one_by_one(self) -> Variant | None:
        """The rpc that answers one mask a message."""
        return _variant(variants(method_of(self.path)).one_by_one)

    @cached_property
    def stream(self) -> Variant | None:
        """The rpc that takes many such questions."""
        return _variant(variants(method_of(self.path)).stream)


def _variant(method: MethodDescriptor | None) -> Variant | None:
    return None if method is None else _called(path_of(method))


def _called(path: str) -> Variant:
    method = method_of(path)
    return Variant(path, message_class(method.input_type), message_class(method.output_type))


def _models(reply: Reply, _: Beside) -> tuple[model_pb2.Model, ...]:
    return tuple(reply.models)


def _model(reply: Reply, _: Beside) -> model_pb2.Model:
    model: model_pb2.Model = reply.model
    return model


def _caller(reply: Reply, _: Beside) -> model_pb2.GetCallerResponse:
    caller: model_pb2.GetCallerResponse = reply
    return caller


def _status(reply: Reply, _: Beside) -> model_pb2.GetStatusResponse:
    status: model_pb2.GetStatusResponse = reply
    return status


def _drained(reply: Reply, _: Beside) -> model_pb2.DrainResponse:
    drained: model_pb2.DrainResponse = reply
    return drained


CLIP_FEATURES = Rpc(table.EXTRACT_CLIP.rpc, results.features)
ENCODE_TEXT = Rpc(table.ENCODE_TEXT.rpc, results.embedded_texts)
SIMILARITY = Rpc(table.COMPUTE_SIMILARITY.rpc, results.similarity)
ENCODE_IMAGE = Rpc(table.ENCODE_IMAGE.rpc, results.embedded_picture)
EMBED_PYRAMID = Rpc(table.EMBED_PYRAMID.rpc, pyramid_results.pyramid)
DINO_FEATURES = Rpc(table.EXTRACT_DINO.rpc, results.features)
GENERATE_MASKS = Rpc(table.GENERATE_MASKS.rpc, mask_results.masks)
PREDICT_MASKS = Rpc(table.PREDICT_MASKS.rpc, mask_results.prompt_masks)
EMBED_IMAGE = Rpc(table.EMBED_IMAGE.rpc, results.embedded)
DESCRIBE_OBJECTS = Rpc(table.DESCRIBE_OBJECTS.rpc, object_results.objects)
FIND_OBJECTS = Rpc(table.FIND_OBJECTS.rpc, object_results.FoundObjects)
ESTIMATE = Rpc(methods.ESTIMATE, results.estimate)
CALLER = Rpc("/featsvc.v1.ModelService/GetCaller", _caller)
LIST_MODELS = Rpc("/featsvc.v1.ModelService/ListModels", _models)
LOAD_MODEL = Rpc("/featsvc.v1.ModelService/LoadModel", _model)
UNLOAD_MODEL = Rpc("/featsvc.v1.ModelService/UnloadModel", _model)
DRAIN = Rpc("/featsvc.v1.ModelService/Drain", _drained)
STATUS = Rpc("/featsvc.v1.ModelService/GetStatus", _status)
