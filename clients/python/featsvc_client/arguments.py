"""Keyword arguments of the documented functions, sorted into what the contract calls them.

No parameter is named here: their names, types and descriptions come from the generated classes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TypedDict, cast, get_args

import numpy as np
from pydantic import BaseModel

from featsvc.fields.base import NullMeans
from featsvc.v1 import params, schema
from featsvc_client import tensors
from featsvc_client.errors import FieldViolation, invalid

SHAPE_SUFFIX = "_shape"


class Connection(TypedDict, total=False):
    """Where a REST service is, and how to call it."""

    base_url: str
    """Address of the service; by default its documented port on this machine."""
    api_key: str | None
    """Key of the server; None sends none. By default "smfeats", or none with tls_cert."""
    timeout: float
    """Seconds that the call may take; by default 300."""
    priority: int
    """How urgent it is beside others with the same key, from -9 to 9: higher ones come first. By default 0."""
    tls_ca: str
    """File of the authorities that an https service's certificate must come from."""
    tls_cert: str
    """File of a certificate to show to a service that asks for one."""
    tls_key: str
    """File of its key."""


CONNECTION = {
    "base_url": "Address of the service; by default its documented port on this machine.",
    "api_key": 'Key of the server; None sends none. By default "smfeats", or none with tls_cert.',
    "timeout": "Seconds that the call may take; by default 300.",
    "priority": "How urgent it is beside others with the same key, from -9 to 9: higher ones come first. By default 0.",
    "tls_ca": "File of the authorities that an https service's certificate must come from.",
    "tls_cert": "File of a certificate to show to a service that asks for one.",
    "tls_key": "File of its key.",
}
"""The same for those who read no source: what each means."""


class ClipFeatureArguments(Connection, params.Image, params.ClipExtractFeaturesParams, total=False):
    """Arguments of extract_clip_features."""


class TextArguments(Connection, params.Texts, params.EncodeTextParams, total=False):
    """Arguments of encode_clip_text."""


class SimilarityArguments(
    Connection, params.Image, params.TextQuery, params.ComputeSimilarityParams, total=False
):
    """Arguments of compute_clip_similarity."""


class DinoFeatureArguments(Connection, params.Image, params.DinoExtractFeaturesParams, total=False):
    """Arguments of extract_dino_features."""


class AutoMaskArguments(Connection, params.Image, params.GenerateMasksParams, total=False):
    """Arguments of generate_sam2_auto_masks."""


class PromptMaskArguments(Connection, params.Image, params.Prompt, params.PredictMasksParams, total=False):
    """Arguments of generate_sam2_prompt_masks."""


class TextParams(params.Texts, params.EncodeTextParams, total=False):
    """Texts, and how to embed them."""


class ClipFeatureParams(params.Image, params.ClipExtractFeaturesParams, total=False):
    """What is said of a picture, and how to extract its CLIP features."""


class EncodeImageParams(params.Image, params.EncodeImageParams, total=False):
    """What is said of a picture, and how to embed it."""


class PyramidParams(params.Image, params.EmbedPyramidParams, total=False):
    """What is said of a picture, and the pyramid that is made of it."""


class DinoFeatureParams(params.Image, params.DinoExtractFeaturesParams, total=False):
    """What is said of a picture, and how to extract its DINO features."""


class AutoMaskParams(params.Image, params.GenerateMasksParams, total=False):
    """What is said of a picture, and how to find its masks."""


class EmbedImageParams(params.Image, params.EmbedImageParams, total=False):
    """What is said of a picture, and how to encode it."""


class SimilarityParams(params.Image, params.TextQuery, params.ComputeSimilarityParams, total=False):
    """Texts, and how to compare a picture with them."""


class PromptParams(params.Image, params.Prompt, params.PredictMasksParams, total=False):
    """One prompt, and how to answer it."""


class ObjectParams(params.Image, params.ObjectSource, params.DescribeObjectsParams, total=False):
    """What is said of a picture, where its objects come from, and how to describe them."""


class FindParams(
    params.Image, params.ObjectQuery, params.ObjectSource, params.FindObjectsParams, total=False
):
    """What is said of a picture, what to look for, where its objects come from, and how to look."""


def connection(arguments: Mapping[str, object]) -> Connection:
    """Those of the arguments that say where the service is."""
    # cast: the names are those of Connection, and the callers' own signatures check the values.
    return cast(
        Connection, {name: value for name, value in arguments.items() if name in Connection.__annotations__}
    )


def rest_fields(arguments: Mapping[str, object]) -> dict[str, object]:
    """All other arguments as JSON values; arrays for tensors become base64 and their shape."""
    fields: dict[str, object] = {}
    for name, value in arguments.items():
        if name in Connection.__annotations__:
            continue
        if name in TENSOR_FIELDS and value is not None and not isinstance(value, str):
            fields[name], fields[name + SHAPE_SUFFIX] = tensors.encoded(np.asarray(value))
        else:
            fields[name] = plain(value)
    return fields


def message_fields(arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments as fields of a generated class; arrays or base64 for tensors become Tensor fields."""
    fields = {
        name: plain(value)
        for name, value in arguments.items()
        if name not in TENSOR_FIELDS and (value is not None or name in MEANT_NULLS)
    }
    for name in TENSOR_FIELDS & arguments.keys():
        shape = fields.pop(name + SHAPE_SUFFIX, None)
        if arguments[name] is not None:
            fields[name] = _tensor(name, arguments[name], shape)
    return fields


def channels_first(arguments: Mapping[str, object]) -> bool:
    """Whether the features that these ask for have their channels before height and width."""
    return any(isinstance(value, str) and value == schema.TensorFormat.CHW for value in arguments.values())


def parted(
    arguments: Mapping[str, object], part: type[BaseModel]
) -> tuple[dict[str, object], dict[str, object]]:
    """Arguments that are fields of `part`, and the others."""
    names = part.model_fields.keys() | {name + SHAPE_SUFFIX for name in tensor_fields(part)}
    inside = {name: value for name, value in arguments.items() if name in names}
    return inside, {name: value for name, value in arguments.items() if name not in names}


def first_field(part: type[BaseModel]) -> str:
    """Name of the first field: that of the texts in the classes that hold texts."""
    return next(iter(part.model_fields))


def with_first(part: type[BaseModel], value: object, arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments with a value that may be given by position, as the first field of `part`."""
    name = first_field(part)
    if value is None:
        return dict(arguments)
    if name in arguments:
        raise TypeError(f"{name!r} is given by position and by name")
    return {name: value, **arguments}


def plain(value: object) -> object:
    """The value without numpy types, as JSON and the generated classes take it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def tensor_fields(part: type[BaseModel]) -> frozenset[str]:
    """Names of the fields that hold a tensor."""
    return frozenset(
        name
        for name, field in part.model_fields.items()
        if schema.Tensor in (field.annotation, *get_args(field.annotation))
    )


def _tensor(name: str, value: object, shape: object) -> dict[str, object]:
    """The fields of a float32 Tensor."""
    if isinstance(value, str):
        try:
            return {"dtype": "float32", "shape": shape or (), "data": base64.b64decode(value, validate=True)}
        except (binascii.Error, ValueError):
            raise invalid(FieldViolation(name, "is no valid base64")) from None
    array = np.asarray(value, tensors.FLOAT32)
    return {"dtype": "float32", "shape": array.shape, "data": array.tobytes()}


TENSOR_FIELDS = tensor_fields(schema.Prompt)
MEANT_NULLS = frozenset(
    name
    for part in vars(schema).values()
    if isinstance(part, type) and issubclass(part, BaseModel)
    for name, field in part.model_fields.items()
    if any(isinstance(each, NullMeans) for each in field.metadata)
)
"""The options in which None has a meaning of its own."""
