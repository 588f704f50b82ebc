"""Bytes in JSON: base64, a data: URI around it, line breaks inside it, either alphabet."""

from __future__ import annotations

from typing import Annotated

import pybase64
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

# Either alphabet is read; whitespace and padding are dropped, and the right padding added.
TOLERATED = str.maketrans({"-": "+", "_": "/", "=": None, " ": None, "\n": None, "\r": None, "\t": None})


def decoded(given: object) -> object:
    """The bytes of base64; null stays null."""
    if given is None or isinstance(given, bytes):
        return given
    if not isinstance(given, str):
        raise PydanticCustomError("base64", "must be base64 in a text")
    content = _without_uri(given)
    try:
        found = pybase64.b64decode(content, validate=True)
    except ValueError:
        found = _leniently(content)
    if not found:
        raise PydanticCustomError("base64", "is empty")
    return found


def _without_uri(given: str) -> str:
    """What follows the comma of `data:image/png;base64,…`."""
    if given[:5].lower() != "data:":
        return given
    head, _, content = given.partition(",")
    if not head.lower().endswith(";base64"):
        raise PydanticCustomError(
            "base64", "must be a data: URI with base64 content: data:image/png;base64,…"
        )
    return content


def _leniently(content: str) -> bytes:
    compact = content.translate(TOLERATED)
    try:
        return pybase64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except ValueError:
        raise PydanticCustomError("base64", f"is not base64: {_instead(content)}") from None


def _instead(given: str) -> str:
    if given[:8].lower().startswith(("http://", "https://")):
        return "an address is given as image_url"
    return "send what is in the file (base64 FILE), for the server opens no path"


Base64 = Annotated[
    bytes, BeforeValidator(decoded), WithJsonSchema({"type": "string", "contentEncoding": "base64"})
]
