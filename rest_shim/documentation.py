"""What FastAPI's OpenAPI leaves out: it drops every null, so also defaults and parts of examples."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from rest_shim.bodies import Body
from rest_shim.endpoints import Family
from rest_shim.examples import whole_example


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


def _complete(described: dict[str, Any], body: type[Body]) -> None:
    described["examples"] = [whole_example(body)]
    for name, field in body.model_fields.items():
        # pydantic drops a description that is also the one of the type.
        described["properties"][name]["description"] = field.description
        if not field.is_required() and field.default is None:
            described["properties"][name]["default"] = None
