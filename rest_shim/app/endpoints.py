"""Which path asks which operation, and how its reply is encoded. All else follows from the contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from pydantic import BaseModel

from featsvc.twin.methods import ESTIMATE, method_of, question_field, variants
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
    dry_run_of: Endpoint | None = None
    """The path whose cost it tells, where it asks nothing by itself."""

    @property
    def name(self) -> str:
        """What generated clients call it: the path as a name."""
        return self.path.strip("/").replace("/", "_")

    @property
    def method(self) -> MethodDescriptor:
        """The gRPC method."""
        method: MethodDescriptor = method_of(self.operation.rpc)
        return method

    @cached_property
    def called(self) -> MethodDescriptor:
        """The method that is called: the one in chunks where there is one, so that no step holds a large reply."""
        if self.dry_run_of is not None:
            estimate: MethodDescriptor = method_of(ESTIMATE)
            return estimate
        others = variants(self.method)
        return others.chunked or others.one_by_one or self.method

    def question(self, message: Any) -> Any:
        """The operation's request in that of the method that is called. Any: messages by their fields."""
        if self.dry_run_of is not None:
            return getattr(message, str(question_field(self.method.input_type)))
        # A call in chunks holds the same request in a field of its own.
        return message if self.called is self.method else message.request

    @cached_property
    def dry_run(self) -> Endpoint | None:
        """The path that tells what this one would cost; None where the contract has no such question."""
        if question_field(self.method.input_type) is None:
            return None
        return Endpoint(
            f"/estimate{self.path}",
            f"What it would cost: {self.summary[0].lower()}{self.summary[1:]}",
            self.operation,
            replies.Estimate,
            encode.estimate,
            dry_run_of=self,
        )

    @property
    def has_one_tensor(self) -> bool:
        """Whether the reply can be a tensor and nothing else."""
        return self.encoder is encode.one_tensor

    @cached_property
    def body(self) -> type[Body]:
        """The class of the JSON body."""
        if self.dry_run_of is not None:
            return self.dry_run_of.body
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
    Endpoint(
        "/embed_pyramid",
        "Encode tiles of a picture in several sizes",
        operations.EMBED_PYRAMID,
        replies.EmbeddedTiles,
    ),
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
DESCRIBE = Endpoint(
    "/describe_objects",
    "Find or take masks, and describe what is under each",
    operations.DESCRIBE_OBJECTS,
    replies.DescribedObjects,
    encode.described_objects,
)
FIND = Endpoint(
    "/find_objects",
    "Find the objects that texts name",
    operations.FIND_OBJECTS,
    replies.FoundObjects,
    encode.objects_found,
)
PAGE = "page"
"""What the port of the page is called, beside those of the families."""
FAMILIES = {
    family.name: family
    for family in (
        RestPort("clip", "CLIP features, text embeddings and similarity maps", CLIP_ENDPOINTS),
        RestPort("dino", "DINO features", DINO_ENDPOINTS),
        RestPort("sam2", "SAM2 masks", (AUTO, PROMPT, EMBED, DESCRIBE, FIND)),
    )
}
