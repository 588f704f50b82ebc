"""The table of operations: gateway, batches, engines, REST and Python client read what is said here once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel

from featsvc.fields.base import Parameters
from featsvc.v1 import schema
from featsvc.work.item import (
    FeaturesItem,
    FindItem,
    Item,
    ObjectItem,
    PictureItem,
    PromptItem,
    QueryItem,
    TextItem,
)
from featsvc.work.objects import ObjectsParams, are_given, descriptors_of, objects_in_force
from featsvc.work.presets import in_force
from featsvc.work.results import (
    EmbeddedImage,
    Features,
    ImageEmbedding,
    MaskList,
    ObjectList,
    ObjectsFound,
    PromptResults,
    Pyramid,
    Result,
    Similarity,
    TextEmbeddings,
)

Family = Literal["clip", "dino", "sam2"]
Several = Literal["object"]
"""In the place of a family: models of several families answer together."""
P = TypeVar("P", bound=Parameters)
I = TypeVar("I", bound=Item)  # noqa: E741  # beside P and R
R = TypeVar("R", bound=Result)


class ModelUse(NamedTuple):
    """One of several models that answer together."""

    naming: BaseModel
    """The options that name it, as in a request to it alone."""
    operation: AnyOperation
    """What it must be able to answer."""
    option: str = ""
    """The option that names it, where that is none of its own."""


ANY_FORM: Mapping[str, object] = MappingProxyType(
    {
        "pca_digests": (),
        "ret_pca_basis": False,
        "dtype": schema.FeatureDType.FLOAT32,
        "tensor_format": schema.TensorFormat.HWC,
    }
)
"""Parameters of features that change the answer, and not the basis of its components."""


class PicturesBeside(NamedTuple):
    """Pictures that belong to a question beside its own, which the server was sent before."""

    option: str
    """The option that names them."""
    digests: tuple[str, ...]
    params: schema.FeatureParams

    @property
    def of_basis(self) -> schema.FeatureParams:
        """Equal for parameters with which the same pictures have the same basis."""
        return self.params.model_copy(update=ANY_FORM)


@dataclass(frozen=True, eq=False)
class Operation(Generic[P, I, R]):
    """A question that models answer, and the classes of what is asked and answered."""

    rpc: str
    """Path of its method, "/featsvc.v1.ClipService/EncodeText". Variants of it are found by their requests: those that
    hold a `request` of the same message."""
    family: Family | Several
    """Of the models that may answer; which of them do, the catalog says."""
    params: type[P]
    item: type[I]
    result: type[R]
    per_picture: int = 1
    """So many requests cost a GPU about as much as one with a picture: so many times more share a batch."""
    keeps_pictures: bool = False
    """Whether a worker keeps what it knows of the picture, so that the next question about it goes there."""
    looks_again: bool = False
    """Whether the picture itself is wanted though a worker keeps what it knows of it."""
    models: Callable[[Any], tuple[ModelUse, ...]] | None = None
    """The models that answer a request together; None: the one that its parameters name, and those of `also`."""
    also: Callable[[P], tuple[ModelUse, ...]] | None = None
    """Further models that answer with the one that its parameters name."""
    together: Callable[[P], PicturesBeside] | None = None
    """Names of further pictures that belong to a question: those that an item holds as `together`."""
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


def models_of(operation: AnyOperation, asked: Any) -> tuple[ModelUse, ...]:  # Any: the twin of its request
    """The models that answer a request, in the order of the operation: the one that it names, or several together."""
    if operation.models:
        return operation.models(asked)
    others = operation.also(asked.params) if operation.also else ()
    return (ModelUse(asked.params, operation), *others)


def proxy_of(params: schema.ClipParams) -> tuple[ModelUse, ...]:
    """The DINO model that CLIP's dense recipe goes by, where it does."""
    if params.proxy_model is None:
        return ()
    return (ModelUse(schema.DinoModel(model_type=params.proxy_model), EXTRACT_DINO, "proxy_model"),)


def pictures_of_basis(params: schema.FeatureParams) -> PicturesBeside:
    """Those that principal components are taken of with the picture's own."""
    return PicturesBeside("pca_digests", params.pca_digests, params)


EXTRACT_CLIP = Operation(
    "/featsvc.v1.ClipService/ExtractFeatures",
    "clip",
    schema.ClipExtractFeaturesParams,
    FeaturesItem,
    Features,
    also=proxy_of,
    together=pictures_of_basis,
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
    also=proxy_of,
)
ENCODE_IMAGE = Operation(
    "/featsvc.v1.ClipService/EncodeImage",
    "clip",
    schema.EncodeImageParams,
    PictureItem,
    ImageEmbedding,
)
EMBED_PYRAMID = Operation(
    "/featsvc.v1.ClipService/EmbedPyramid",
    "clip",
    schema.EmbedPyramidParams,
    PictureItem,
    Pyramid,
    keeps_pictures=True,
)
EXTRACT_DINO = Operation(
    "/featsvc.v1.DinoService/ExtractFeatures",
    "dino",
    schema.DinoExtractFeaturesParams,
    FeaturesItem,
    Features,
    together=pictures_of_basis,
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


class AskedObjects(Protocol):
    """The twin of a request about objects."""

    source: schema.ObjectSource | None
    params: ObjectsParams


def models_of_objects(asked: AskedObjects) -> tuple[ModelUse, ...]:
    """SAM2 where masks are to be made, then the model of each descriptor in their order."""
    described = tuple(use for each in descriptors_of(asked.params) for use in models_of_way(each))
    searches_peaks = getattr(asked.params, "search", None) is schema.ObjectSearch.PEAKS
    if are_given(asked.source) and not searches_peaks:
        return described
    has_prompts = searches_peaks or (asked.source is not None and asked.source.prompts)
    return (ModelUse(asked.params, PREDICT_MASKS if has_prompts else GENERATE_MASKS), *described)


def models_of_way(descriptor: schema.ObjectDescriptor) -> tuple[ModelUse, ...]:
    """The model that describes objects so, and the one that its dense recipe goes by where it does."""
    if descriptor.clip is None:
        model = None if descriptor.dino is None else descriptor.dino.model
        return (ModelUse(model or schema.DinoModel(), EXTRACT_DINO),)
    own = descriptor.clip.model or schema.ClipModel()
    if descriptor.crop is not None:
        return (ModelUse(own, ENCODE_IMAGE),)
    return (ModelUse(own, EXTRACT_CLIP), *proxy_of(descriptor.clip.params or schema.ClipParams()))


DESCRIBE_OBJECTS = Operation(
    "/featsvc.v1.ObjectService/DescribeObjects",
    "object",
    schema.DescribeObjectsParams,
    ObjectItem,
    ObjectList,
    keeps_pictures=True,
    looks_again=True,
    models=models_of_objects,
    settled=objects_in_force,
)
FIND_OBJECTS = Operation(
    "/featsvc.v1.ObjectService/FindObjects",
    "object",
    schema.FindObjectsParams,
    FindItem,
    ObjectsFound,
    keeps_pictures=True,
    looks_again=True,
    models=models_of_objects,
    settled=objects_in_force,
)

OPERATIONS: tuple[AnyOperation, ...] = (
    EXTRACT_CLIP,
    ENCODE_TEXT,
    COMPUTE_SIMILARITY,
    ENCODE_IMAGE,
    EMBED_PYRAMID,
    EXTRACT_DINO,
    GENERATE_MASKS,
    PREDICT_MASKS,
    EMBED_IMAGE,
    DESCRIBE_OBJECTS,
    FIND_OBJECTS,
)
