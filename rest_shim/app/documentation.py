"""The OpenAPI document of a port as it is: the models that it has, every option free to be left out."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import grpc
import orjson
from fastapi import FastAPI

from featsvc.twin.messages import words
from featsvc.v1 import model_pb2, options_pb2
from rest_shim.app.endpoints import Endpoint, RestPort
from rest_shim.call.gateway import GatewayClient
from rest_shim.reply import encode, raw
from rest_shim.request.accept import RAW
from rest_shim.request.bodies import Body, ImageBody

Json: TypeAlias = dict[str, Any]  # Any: OpenAPI is JSON
# protobuf's typed extensions are not what protoc writes.
EXAMPLE: Any = options_pb2.example
FAMILIES = words(model_pb2.Family.DESCRIPTOR)
# Weights may come while the server runs, and a gateway may be started again as another one.
KEPT_S = 10.0
NOTHING: Json = {"type": "null"}
FACTS = {
    encode.SERVICE_HEADER: "The service that answered: ClipService, DinoService or Sam2Service.",
    encode.HEADERS["model"]: "Key of the model that answered.",
    encode.HEADERS["geometry"]: "Where there is a grid: how it lies on the picture, as JSON.",
    encode.HEADERS[
        "image_digest"
    ]: "Where there is a picture: its name for further questions, to be sent as image_digest.",
    encode.HEADERS[
        "image_orientation"
    ]: "Where there is a picture: how its file says that it is to be shown, as EXIF counts; 1 is upright.",
}
RAW_FACTS = {
    raw.SHAPE: "Of raw replies: the shape of the tensor, as JSON.",
    raw.DTYPE: "Of raw replies: its element type.",
    raw.ROUNDING: "Of raw replies of another type than float32: what that has cost, as JSON; see `rounding`.",
    raw.LEVELS: "Of raw replies that are pyramids: their `levels`, as JSON.",
}


@dataclass(frozen=True)
class PortModels:
    """The models of a port's family: the options that name each."""

    default: Mapping[str, str] = field(default_factory=dict)
    """What a request means that names none; empty where it is not known and the contract's own stands."""
    to_try: Mapping[str, str] = field(default_factory=dict)
    """One whose weights are here."""


class PortApp(FastAPI):
    """The application of one family, documented in full."""

    def __init__(self, family: RestPort, **settings: Any) -> None:  # Any: FastAPI's own arguments
        super().__init__(**settings)
        self._family = family
        self._last: tuple[PortModels, str] | None = None
        self._written = b""

    def document(self, models: PortModels, prefix: str) -> bytes:
        """What /openapi.json says where these models are here, behind a proxy that puts this path in front."""
        # Written once: whoever has no key may ask for it as often as he likes.
        if self._last != (models, prefix):
            servers = {"servers": [{"url": prefix}]} if prefix else {}
            self._written = orjson.dumps(self._described(models) | servers)
            self._last = models, prefix
        return self._written

    def _described(self, models: PortModels) -> Json:
        document = deepcopy(self.openapi())
        for endpoint in self._family.endpoints:
            described = document["components"]["schemas"][endpoint.body.__name__]
            _complete(described, endpoint.body, models)
            described["examples"] = [_example(endpoint, models.to_try)]
        return document


class KnownModels:
    """The models of a family, asked of the gateway and kept for a moment."""

    def __init__(self, family: str, gateway: GatewayClient) -> None:
        self._family, self._gateway = family, gateway
        self._found, self._until = PortModels(), 0.0

    async def now(self) -> PortModels:
        """The last ones known, or none where the gateway never could be asked."""
        if time.monotonic() >= self._until:
            try:
                status = await self._gateway.status(with_models=True)
            except grpc.aio.AioRpcError:
                return self._found
            if not status.default_models:
                return self._found
            self._found = PortModels(
                *(self._of(each) for each in (status.default_models, status.models_to_try))
            )
            self._until = time.monotonic() + KEPT_S
        return self._found

    def _of(self, named: Any) -> dict[str, str]:  # Any: protobuf's containers have no type of their own
        return next((dict(each.options) for each in named if FAMILIES.get(each.family) == self._family), {})


@cache
def _sample() -> str:
    """A small picture as a body holds it: a red circle and a blue square."""
    return base64.b64encode((files("rest_shim") / "sample.png").read_bytes()).decode()


def _example(endpoint: Endpoint, model: Mapping[str, str]) -> dict[str, object]:
    """A body to try; `model` are the options that name a model."""
    picture = {"image": _sample()} if issubclass(endpoint.body, ImageBody) else {}
    written = endpoint.method.input_type.GetOptions().Extensions[EXAMPLE] or "{}"
    named = {name: value for name, value in model.items() if name in endpoint.body.model_fields}
    return {**picture, **orjson.loads(written), **named}


def success(endpoint: Endpoint) -> Json:
    """What OpenAPI says of 200 beyond the JSON reply: its headers, and the raw forms that Accept may name."""
    facts = FACTS | RAW_FACTS if endpoint.has_one_tensor else FACTS
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "description": "The answer.",
        "headers": {
            name: {"description": said, "schema": {"type": "string"}} for name, said in facts.items()
        },
        "content": {str(form): binary for form in RAW} if endpoint.has_one_tensor else {},
    }


def _complete(described: Json, body: type[Body], models: PortModels) -> None:
    for name, known in body.model_fields.items():
        shown = described["properties"][name]
        # pydantic drops a description that is also the one of the type.
        shown["description"] = known.description
        if not known.is_required():
            described["properties"][name] = _optional(shown, models.default.get(name, known.default))


def _optional(shown: Json, default: object) -> Json:
    """A field that may be left out or null, with its default in words.

    Not as `default`: generated clients send what stands there, which would be an answer to every option and override
    a preset, and to TypeScript's generators a field with a default is one that must be given.
    """
    outer: Json = {name: shown.pop(name) for name in ("title", "description", "examples") if name in shown}
    shown.pop("default", None)
    choices = shown["anyOf"] if shown.keys() == {"anyOf"} else [shown]
    said = "" if default in (None, ()) else f" Default: {orjson.dumps(default).decode()}."
    return {
        **outer,
        "description": f"{outer['description']}{said}",
        "anyOf": [*(each for each in choices if each != NOTHING), NOTHING],
    }
