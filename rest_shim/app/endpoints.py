"""Which path asks which operation, and how its reply is encoded. All else follows from the contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from google.protobuf.descriptor import MethodDescriptor
from pydantic import BaseModel

from featsvc.twin.methods import method_of, variants
from featsvc.work import operations
from featsvc.work.operations import AnyOperation
from rest_shim.reply import encode, replies
from rest_shim.request.bodies import Body, body_class


@dataclass(frozen=True)
class Endpoint:
    """One path: the operation behind it, and the form of its reply."""

    path: str
    summary: str
    operation: AnyOperation
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
        method: MethodDescriptor = method_of(self.operation.rpc)
        return method

    @cached_property
    def called(self) -> MethodDescriptor:
        """The method that is called: the one in chunks where there is one, so that no step holds a large reply."""
        others = variants(self.method)
        return others.chunked or others.one_by_one or self.method

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

    @property
    def services(self) -> frozenset[str]:
        """The gRPC services behind it."""
        return frozenset(each.operation.service for each in self.endpoints)


CLIP_ENDPOINTS = (
    Endpoint("/extract", "Extract CLIP features", operations.EXTRACT_CLIP, replies.Features),
    Endpoint(
        "/encode_text",
        "Encode text",
        operations.ENCODE_TEXT,
        replies.TextEmbedding,
        has_axis_of_one_text=True,
    ),
    Endpoint(
        "/similarity", "Compare a picture to texts", operations.COMPUTE_SIMILARITY, replies.SimilarityMap
    ),
    Endpoint("/encode_image", "Encode a whole picture", operations.ENCODE_IMAGE, replies.ImageEmbedding),
)
DINO_ENDPOINTS = (Endpoint("/extract", "Extract DINO features", operations.EXTRACT_DINO, replies.Features),)
AUTO = Endpoint(
    "/auto_mask", "Find all masks", operations.GENERATE_MASKS, replies.AutoMasks, encode.auto_masks
)
PROMPT = Endpoint(
    "/prompt_mask",
    "Find what is pointed at",
    operations.PREDICT_MASKS,
    replies.PromptMasks,
    encode.prompt_masks,
)
EMBED = Endpoint(
    "/embed_image",
    "Encode a picture ahead of its prompts",
    operations.EMBED_IMAGE,
    replies.EncodedPicture,
    encode.embedded_image,
)
PAGE = "page"
"""What the port of the page is called, beside those of the families."""
FAMILIES = {
    family.name: family
    for family in (
        RestPort("clip", "CLIP features, text embeddings and similarity maps", CLIP_ENDPOINTS),
        RestPort("dino", "DINO features", DINO_ENDPOINTS),
        RestPort("sam2", "SAM2 masks", (AUTO, PROMPT, EMBED)),
    )
}
