"""A JSON body as the gRPC request, and how its caller wants the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message_factory import GetMessageClass
from pydantic import ValidationError

from featsvc.v1 import sam2_pb2, schema, tensor_pb2
from rest_shim import blobs, raw
from rest_shim.accept import Form
from rest_shim.bodies import Body, put
from rest_shim.contract import field_of
from rest_shim.encode import Written
from rest_shim.endpoints import Endpoint
from rest_shim.errors import invalid_body, invalid_fields


@dataclass(frozen=True)
class Wish:
    """The form of a reply."""

    form: Form
    written: Written
    """How masks and numbers are written in it."""


def question(endpoint: Endpoint, content: bytearray, form: Form) -> tuple[bytes, Wish]:
    """The serialised gRPC request of a body, with only what the caller gave set; raises HttpError."""
    try:
        body = endpoint.body.model_validate(orjson.loads(content))
    except orjson.JSONDecodeError as error:
        raise invalid_fields([((), f"is not JSON: {error}", "json_invalid")]) from None
    except ValidationError as error:
        raise invalid_body(error) from None
    wish = _wish(endpoint, body, form)
    message: Any = GetMessageClass(endpoint.called.input_type)()  # Any: a class made at run time
    # A call in chunks holds the same request in a field of its own.
    request = message if endpoint.called is endpoint.method else message.request
    put(body, request, endpoint.method.input_type)
    return message.SerializeToString(), wish


def _wish(endpoint: Endpoint, body: Body, form: Form) -> Wish:
    request = endpoint.method.input_type
    masks = field_of(request, sam2_pb2.MaskEncoding.DESCRIPTOR)
    numbers = field_of(request, tensor_pb2.FeatureDType.DESCRIPTOR)
    if form is Form.NPY and numbers and getattr(body, numbers) == schema.FeatureDType.BFLOAT16:
        # Said before any work is done.
        raise raw.not_as_npy()
    packed = masks is not None and getattr(body, masks) == schema.MaskEncoding.BITS
    return Wish(form, blobs.raw if packed else blobs.floats)
