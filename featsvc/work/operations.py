"""The table of operations: gateway, batches, engines, REST and Python client read what is said here once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from featsvc.fields.base import Parameters
from featsvc.v1 import schema
from featsvc.work.item import Item, PictureItem, PromptItem, QueryItem, TextItem
from featsvc.work.presets import in_force
from featsvc.work.results import (
    EmbeddedImage,
    Features,
    ImageEmbedding,
    MaskList,
    PromptResults,
    Result,
    Similarity,
    TextEmbeddings,
)

Family = Literal["clip", "dino", "sam2"]
P = TypeVar("P", bound=Parameters)
I = TypeVar("I", bound=Item)  # noqa: E741  # beside P and R
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, eq=False)
class Operation(Generic[P, I, R]):
    """A question that models answer, and the classes of what is asked and answered."""

    rpc: str
    """Path of its method, "/featsvc.v1.ClipService/EncodeText". Variants of it are found by their requests: those that
    hold a `request` of the same message."""
    family: Family
    """Of the models that may answer; which of them do, the catalog says."""
    params: type[P]
    item: type[I]
    result: type[R]
    per_picture: int = 1
    """So many requests cost a GPU about as much as one with a picture: so many times more share a batch."""
    keeps_pictures: bool = False
    """Whether a worker keeps what it knows of the picture, so that the next question about it goes there."""
    settled: Callable[[P], P] | None = None
    """Makes parameters whose meaning depends on which of them were given independent of that."""

    @property
    def service(self) -> str:
        """Full name of its service."""
        return self.rpc.split("/")[1]

    @property
    def name(self) -> str:
        """Name of its method."""
        return self.rpc.split("/")[2]


AnyOperation: TypeAlias = Operation[Any, Any, Any]
"""Where it does not matter which: its classes differ from line to line of the table."""

EXTRACT_CLIP = Operation(
    "/featsvc.v1.ClipService/ExtractFeatures",
    "clip",
    schema.ClipExtractFeaturesParams,
    PictureItem,
    Features,
)
ENCODE_TEXT = Operation(
    "/featsvc.v1.ClipService/EncodeText",
    "clip",
    schema.EncodeTextParams,
    TextItem,
    TextEmbeddings,
    per_picture=8,
)
COMPUTE_SIMILARITY = Operation(
    "/featsvc.v1.ClipService/ComputeSimilarity",
    "clip",
    schema.ComputeSimilarityParams,
    QueryItem,
    Similarity,
)
ENCODE_IMAGE = Operation(
    "/featsvc.v1.ClipService/EncodeImage",
    "clip",
    schema.EncodeImageParams,
    PictureItem,
    ImageEmbedding,
)
EXTRACT_DINO = Operation(
    "/featsvc.v1.DinoService/ExtractFeatures",
    "dino",
    schema.DinoExtractFeaturesParams,
    PictureItem,
    Features,
)
GENERATE_MASKS = Operation(
    "/featsvc.v1.Sam2Service/GenerateMasks",
    "sam2",
    schema.GenerateMasksParams,
    PictureItem,
    MaskList,
    keeps_pictures=True,
    settled=in_force,
)
PREDICT_MASKS = Operation(
    "/featsvc.v1.Sam2Service/PredictMasks",
    "sam2",
    schema.PredictMasksParams,
    PromptItem,
    PromptResults,
    keeps_pictures=True,
)
EMBED_IMAGE = Operation(
    "/featsvc.v1.Sam2Service/EmbedImage",
    "sam2",
    schema.EmbedImageParams,
    PictureItem,
    EmbeddedImage,
    keeps_pictures=True,
)

OPERATIONS: tuple[AnyOperation, ...] = (
    EXTRACT_CLIP,
    ENCODE_TEXT,
    COMPUTE_SIMILARITY,
    ENCODE_IMAGE,
    EXTRACT_DINO,
    GENERATE_MASKS,
    PREDICT_MASKS,
    EMBED_IMAGE,
)
