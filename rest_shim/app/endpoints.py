"""Which path calls which method, and how its reply is encoded. All else follows from the contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from pydantic import BaseModel

from featsvc.v1 import clip_pb2, dino_pb2, sam2_pb2
from rest_shim.contract import in_chunks
from rest_shim.reply import encode, replies
from rest_shim.request.bodies import Body, body_class

CLIP = clip_pb2.DESCRIPTOR.services_by_name["ClipService"]
DINO = dino_pb2.DESCRIPTOR.services_by_name["DinoService"]
SAM2 = sam2_pb2.DESCRIPTOR.services_by_name["Sam2Service"]


@dataclass(frozen=True)
class Endpoint:
    """One path: the method behind it, and the form of its reply."""

    path: str
    summary: str
    service: ServiceDescriptor
    method_name: str
    reply: type[BaseModel]
    encoder: encode.Encoder = encode.one_tensor
    has_axis_of_one_text: bool = False
    """Whether the gRPC reply has an axis of texts also where it is about one."""

    @property
    def name(self) -> str:
        """What generated clients call it: the path as a name."""
        return self.path.strip("/")

    @property
    def method(self) -> MethodDescriptor:
        """The gRPC method."""
        return self.service.methods_by_name[self.method_name]

    @cached_property
    def called(self) -> MethodDescriptor:
        """The method that is called: the one in chunks where there is one, so that no step holds a large reply."""
        return in_chunks(self.method) or self.method

    @property
    def has_one_tensor(self) -> bool:
        """Whether the reply can be a tensor and nothing else."""
        return self.encoder is encode.one_tensor

    @cached_property
    def body(self) -> type[Body]:
        """The class of the JSON body."""
        return body_class(f"{self.name.title().replace('_', '')}Body", self.method.input_type)


@dataclass(frozen=True)
class RestPort:
    """One REST port."""

    name: str
    title: str
    endpoints: tuple[Endpoint, ...]


CLIP_ENDPOINTS = (
    Endpoint("/extract", "Extract CLIP features", CLIP, "ExtractFeatures", replies.Features),
    Endpoint(
        "/encode_text", "Encode text", CLIP, "EncodeText", replies.TextEmbedding, has_axis_of_one_text=True
    ),
    Endpoint("/similarity", "Compare a picture to texts", CLIP, "ComputeSimilarity", replies.SimilarityMap),
    Endpoint("/encode_image", "Encode a whole picture", CLIP, "EncodeImage", replies.ImageEmbedding),
)
DINO_ENDPOINTS = (Endpoint("/extract", "Extract DINO features", DINO, "ExtractFeatures", replies.Features),)
AUTO = Endpoint("/auto_mask", "Find all masks", SAM2, "GenerateMasks", replies.AutoMasks, encode.auto_masks)
PROMPT = Endpoint(
    "/prompt_mask", "Find what is pointed at", SAM2, "PredictMasks", replies.PromptMasks, encode.prompt_masks
)
FAMILIES = {
    family.name: family
    for family in (
        RestPort("clip", "CLIP features, text embeddings and similarity maps", CLIP_ENDPOINTS),
        RestPort("dino", "DINO features", DINO_ENDPOINTS),
        RestPort("sam2", "SAM2 masks", (AUTO, PROMPT)),
    )
}
