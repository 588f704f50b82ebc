"""A JSON body as the gRPC request, and how its caller wants the reply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import orjson
from pydantic import ValidationError

from featsvc.codec import shim_headers
from featsvc.fields.base import MOST_TOLD
from featsvc.twin.methods import message_class
from featsvc.v1 import sam2_pb2, schema, tensor_pb2
from rest_shim.app.endpoints import Endpoint
from rest_shim.call.gateway import Metadata
from rest_shim.contract import field_of
from rest_shim.errors import Mistake, invalid_body, invalid_fields
from rest_shim.reply import blobs, raw
from rest_shim.reply.blobs import BLOCK_BYTES
from rest_shim.reply.encode import Written
from rest_shim.request.accept import Form
from rest_shim.request.bodies import Body, ImageBody, put

# Some Windows programs put it before what they write as UTF-8.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Twice what the largest lists of the contract need. All but the first value follow one of these bytes.
MOST_VALUES = 2 * 1024 * 1024
VALUE_MARKS = b",[{"


@dataclass(frozen=True)
class Wish:
    """The form of a reply."""

    form: Form
    written: Written
    """How masks and numbers are written in it."""
    float_masks: bool = False
    """Whether masks, which come as bits, become float32."""
    is_about_one_text: bool | None = None
    """Whether one text was values by itself and not in a list; None where the reply is about no texts."""
    picture: str = "image"
    """The field that says which picture it is."""

    def limit(self, max_json_bytes: int) -> Metadata:
        """Tells the gateway how large a reply may be, so that one that is larger is refused before the work."""
        if self.form is not Form.JSON:
            return ()
        return ((shim_headers.JSON, f"{max_json_bytes}{'; masks=float32' if self.float_masks else ''}"),)


class Question(NamedTuple):
    """A serialised gRPC request, with only that set which the caller gave, and the reply that is wanted."""

    request: bytes
    wish: Wish


def question(endpoint: Endpoint, content: bytearray, form: Form) -> Question:
    """What a body asks; raises HttpError."""
    try:
        values = _loaded(content, endpoint.body)
        body = endpoint.body.model_validate(values)
    except orjson.JSONDecodeError as error:
        reason = "not UTF-8" if "UTF-8" in str(error) else str(error)
        raise invalid_fields([Mistake((), f"is not JSON: {reason}", "json_invalid")]) from None
    except ValidationError as error:
        raise invalid_body(error, endpoint.body) from None
    name = endpoint.body.one_or_many
    wish = replace(
        _wish(endpoint, body, form),
        is_about_one_text=None if name is None else isinstance(values[name], str),
        picture=body.source if isinstance(body, ImageBody) else "image",
    )
    # The picture's text, which is larger than the picture that was made of it.
    del values
    message: Any = message_class(endpoint.called.input_type)()  # Any: a class made at run time
    put(body, endpoint.question(message), endpoint.method.input_type)
    return Question(message.SerializeToString(), wish)


def _loaded(content: bytearray, body: type[Body]) -> Any:  # Any: whatever the text holds
    """The values of a JSON text, bounded in number: each takes up to 70 bytes."""
    if len(content) > MOST_VALUES and _marks(content) > MOST_VALUES:
        raise invalid_fields([Mistake((), f"holds more than {MOST_VALUES} values", "too_long")])
    marked = content.startswith(BYTE_ORDER_MARK)
    values = orjson.loads(memoryview(content)[len(BYTE_ORDER_MARK) :] if marked else content)
    if isinstance(values, dict) and len(values) > len(body.model_fields) + MOST_TOLD:
        # pydantic would tell of every name that it does not know.
        unknown = [name for name in values if name not in body.model_fields]
        for name in unknown[MOST_TOLD + 1 :]:
            del values[name]
    return values


def _marks(content: bytearray) -> int:
    """At least as many as there are values; a picture in base64 has none, but the commas of texts count."""
    count, letters = 0, np.frombuffer(content, np.uint8)
    for start in range(0, len(letters), BLOCK_BYTES):
        block = letters[start : start + BLOCK_BYTES]
        count += sum(int(np.count_nonzero(block == mark)) for mark in VALUE_MARKS)
    return count


def _wish(endpoint: Endpoint, body: Body, form: Form) -> Wish:
    request = endpoint.method.input_type
    masks = field_of(request, sam2_pb2.MaskEncoding.DESCRIPTOR)
    numbers = field_of(request, tensor_pb2.FeatureDType.DESCRIPTOR)
    if form is Form.NPY and numbers and getattr(body, numbers) == schema.FeatureDType.BFLOAT16:
        # Said before any work is done.
        raise raw.not_as_npy()
    packed = masks is not None and getattr(body, masks) == schema.MaskEncoding.BITS
    return Wish(form, blobs.raw if packed else blobs.floats, masks is not None and not packed)
