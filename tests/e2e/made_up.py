"""An operation that nobody has, the mean colour of a picture: its proto file and its line in the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from featsvc.twin.methods import message_class, method_of
from featsvc.v1 import schema
from featsvc.work.item import PictureItem
from featsvc.work.operations import Operation
from featsvc.work.results import OfPicture

PROTO = """
name: "made_up.proto" package: "featsvc.v1" syntax: "proto3"
dependency: "featsvc/v1/clip.proto" dependency: "featsvc/v1/stream.proto" dependency: "featsvc/v1/tensor.proto"
message_type {
  name: "MeanColourResponse"
  field { name: "colour" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".featsvc.v1.Tensor" }
  field { name: "pixels" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "model" number: 3 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "image_digest" number: 4 label: LABEL_OPTIONAL type: TYPE_STRING }
}
message_type {
  name: "MeanColourChunkedRequest"
  field { name: "request" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".featsvc.v1.EncodeImageRequest" }
}
message_type {
  name: "MeanColourChunkedResponse"
  field { name: "reply" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".featsvc.v1.MeanColourResponse" }
  field { name: "chunk" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".featsvc.v1.TensorChunk" }
}
message_type {
  name: "MeanColourStreamRequest"
  field { name: "request_id" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "request" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".featsvc.v1.EncodeImageRequest" }
}
message_type {
  name: "MeanColourStreamResponse"
  field { name: "request_id" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "response" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".featsvc.v1.MeanColourResponse" }
  field { name: "error" number: 3 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".featsvc.v1.ItemError" }
  field { name: "timing" number: 4 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".featsvc.v1.Timing" }
}
service {
  name: "MadeUpService"
  method {
    name: "MeanColourChunked" server_streaming: true
    input_type: ".featsvc.v1.MeanColourChunkedRequest" output_type: ".featsvc.v1.MeanColourChunkedResponse"
  }
  method {
    name: "MeanColourStream" client_streaming: true server_streaming: true
    input_type: ".featsvc.v1.MeanColourStreamRequest" output_type: ".featsvc.v1.MeanColourStreamResponse"
  }
  method {
    name: "MeanColour" input_type: ".featsvc.v1.EncodeImageRequest" output_type: ".featsvc.v1.MeanColourResponse"
  }
}
"""


class MeanColourChunkedRequest(schema.Message):
    """The twin that `make proto` would make."""

    request: schema.EncodeImageRequest


class MeanColourStreamRequest(MeanColourChunkedRequest):
    """Likewise."""

    request_id: str = ""


@dataclass(frozen=True)
class MeanColour(OfPicture):
    """The colour, red first, and the number of pixels."""

    colour: NDArray[np.float32]
    pixels: int


MEAN_COLOUR = Operation(
    "/featsvc.v1.MadeUpService/MeanColour", "clip", schema.EncodeImageParams, PictureItem, MeanColour
)


def registered() -> type[Message]:
    """The class of its reply; the contract knows the operation from here on."""
    pool: Any = descriptor_pool.Default()  # Any: protobuf's stubs know no such file
    try:
        pool.FindFileByName("made_up.proto")
    except KeyError:
        file = text_format.Parse(PROTO, descriptor_pb2.FileDescriptorProto())
        pool.AddSerializedFile(file.SerializeToString())
    reply: type[Message] = message_class(method_of(MEAN_COLOUR.rpc).output_type)
    return reply
