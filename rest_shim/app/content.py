"""The body of a reply and its headers, in the form that the caller wants."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import Message

from rest_shim.app.endpoints import Endpoint
from rest_shim.app.question import Wish
from rest_shim.errors import too_large
from rest_shim.reply import encode, raw
from rest_shim.reply.json_text import JsonText
from rest_shim.request.accept import Form


class ReplyBody(Protocol):
    """A body whose length is known before it is made."""

    length: int
    comes_over_call: bool
    """Whether its largest part is still to come."""

    def whole(self) -> bytes:
        """All of it, where nothing is still to come."""

    def pieces(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """All of it, made as it is taken."""


@dataclass(frozen=True)
class Content:
    """What is sent."""

    body: ReplyBody
    headers: dict[str, str]


def content(endpoint: Endpoint, wish: Wish, reply: Message, max_json_bytes: int) -> Content:
    """The reply as its caller wants it; raises HttpError where that cannot be had."""
    if wish.is_about_one_text is not None and endpoint.has_one_tensor:
        encode.put_axis_of_texts(reply, wish.is_about_one_text, endpoint.has_axis_of_one_text)
    facts = encode.headers(reply, endpoint.method.containing_service) | {"Content-Type": str(wish.form)}
    if wish.form is not Form.JSON:
        return Content(raw.RawBody(reply, wish.form), facts | raw.headers(reply))
    body = JsonText(endpoint.encoder(reply, wish.written))
    if body.nbytes > max_json_bytes:
        raise too_large(
            "reply",
            f"the arrays of the reply are {body.nbytes} bytes, at most {max_json_bytes} are sent as JSON: "
            f"ask for less, for masks as run lengths (coco_rle), for features as {Form.OCTETS}, or over gRPC",
        )
    return Content(body, facts)
