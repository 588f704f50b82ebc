"""What FastAPI's OpenAPI leaves out: it drops every null, so also defaults and parts of examples."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from rest_shim import encode, raw
from rest_shim.accept import RAW
from rest_shim.bodies import Body
from rest_shim.endpoints import Endpoint, Family
from rest_shim.examples import whole_example

FACTS = {
    encode.HEADERS["model"]: "Key of the model that answered.",
    encode.HEADERS["geometry"]: "Where there is a grid: how it lies on the picture, as JSON.",
    encode.HEADERS[
        "image_digest"
    ]: "Where there is a picture: its name for further questions, to be sent as image_digest.",
}
RAW_FACTS = dict(
    zip(
        raw.HEADERS,
        (
            "Of raw replies: the shape of the tensor, as JSON.",
            "Of raw replies: its element type.",
            "Of raw replies of another type than float32: what that has cost, as JSON; see `rounding`.",
        ),
        strict=True,
    )
)


class Port(FastAPI):
    """The application of one family, documented in full."""

    def __init__(self, family: Family, **settings: Any) -> None:  # Any: FastAPI's own arguments
        super().__init__(**settings)
        self._bodies = [endpoint.body for endpoint in family.endpoints]

    def openapi(self) -> dict[str, Any]:  # Any: OpenAPI is JSON
        """The document of /openapi.json."""
        if not self.openapi_schema:
            document = super().openapi()
            for body in self._bodies:
                _complete(document["components"]["schemas"][body.__name__], body)
            self.openapi_schema = document
        return self.openapi_schema


def success(endpoint: Endpoint) -> dict[str, Any]:  # Any: OpenAPI is JSON
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


def _complete(described: dict[str, Any], body: type[Body]) -> None:
    described["examples"] = [whole_example(body)]
    for name, field in body.model_fields.items():
        # pydantic drops a description that is also the one of the type.
        described["properties"][name]["description"] = field.description
        if not field.is_required() and field.default is None:
            described["properties"][name]["default"] = None
