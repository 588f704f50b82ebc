"""Masks, boxes and prompts of a question about objects, from arrays to what the contract calls them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from featsvc.v1 import schema
from featsvc_client.arguments import SHAPE_SUFFIX, message_fields, plain, tensor_fields
from featsvc_client.errors import FieldViolation, invalid

FIELDS, VECTORS = tensor_fields(schema.ObjectSource), tensor_fields(schema.ObjectQuery)
PROMPTS = next(
    name for name, field in schema.ObjectSource.model_fields.items() if "Prompt" in str(field.annotation)
)
PLANES = 3
"""Axes of several masks."""


def object_source(arguments: Mapping[str, object]) -> dict[str, object]:
    """The fields of an ObjectSource. Arrays N x H x W are masks, a bit for each pixel; H x W a map of numbers."""
    source = {
        name: plain(value) for name, value in arguments.items() if name not in FIELDS and value is not None
    }
    for name in FIELDS & arguments.keys():
        source.pop(name + SHAPE_SUFFIX, None)
        if arguments[name] is not None:
            source[name] = _tensor(numbers(name, arguments[name]))
    prompts = arguments.get(PROMPTS)
    if isinstance(prompts, list | tuple):
        source[PROMPTS] = [message_fields(each) for each in prompts]
    return source


def numbers(name: str, given: object) -> NDArray[np.generic]:
    """What was given as an array of booleans or numbers; raises InvalidRequest, by this name, where it is none."""
    try:
        array = np.asarray(given)
    except ValueError:
        raise invalid(FieldViolation(name, "must be an array: its rows differ in length")) from None
    if array.dtype.kind not in "biuf":
        raise invalid(FieldViolation(name, f"must be an array of booleans or numbers, not {array.dtype}"))
    return array


def _tensor(array: NDArray[np.generic]) -> dict[str, object]:
    if array.ndim >= PLANES:
        bits = np.packbits(np.greater(array, 0), axis=-1)
        return {"dtype": "bits", "shape": array.shape, "data": bits.tobytes()}
    return {"dtype": "int64", "shape": array.shape, "data": np.ascontiguousarray(array, "<i8").tobytes()}


def object_query(arguments: Mapping[str, object]) -> dict[str, object]:
    """The fields of an ObjectQuery; vectors are an array Q x D, or D of a single one."""
    query = {
        name: plain(value) for name, value in arguments.items() if name not in VECTORS and value is not None
    }
    for name in VECTORS & arguments.keys():
        query.pop(name + SHAPE_SUFFIX, None)
        if arguments[name] is not None:
            array = _rows(name, arguments[name])
            query[name] = {"dtype": "float32", "shape": array.shape, "data": array.tobytes()}
    return query


def _rows(name: str, given: object) -> NDArray[np.float32]:
    """One vector or several as Q x D."""
    array = numbers(name, given)
    if array.ndim not in (1, 2):
        shape = " x ".join(map(str, array.shape)) or "a single number"
        raise invalid(FieldViolation(name, f"must be one vector, D, or several, Q x D, not {shape}"))
    return np.ascontiguousarray(np.atleast_2d(array), "<f4")
