"""What a question about objects means where it leaves something out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from featsvc.v1.schema import (
    ClipView,
    DescribeObjectsParams,
    FindObjectsParams,
    FindParams,
    ObjectDescriptor,
    ObjectSource,
    PooledDescriptor,
    TextParams,
)
from featsvc.work.presets import explicit, in_force
from featsvc.work.recipes import RECIPES, filled_way

ObjectsParams = DescribeObjectsParams | FindObjectsParams
O = TypeVar("O", DescribeObjectsParams, FindObjectsParams)  # noqa: E741  # as P, I and R
DEFAULT = ObjectDescriptor(clip=ClipView(), pooled=PooledDescriptor())


def descriptors_of(params: ObjectsParams) -> Sequence[ObjectDescriptor]:
    """The ways in which objects are described: those given, before what the recipe says, or the recipe's."""
    if params.recipe is None:
        return params.describe or (DEFAULT,)
    recipe = RECIPES[params.recipe]
    return tuple(filled_way(each, recipe) for each in params.describe) or recipe.describe


def objects_in_force(params: O) -> O:
    """The options of the recipe, those of the preset before them, and those given in the request before both."""
    if params.recipe is None:
        return in_force(params)
    settled = in_force(params, explicit(RECIPES[params.recipe]))
    return settled.model_copy(update={"describe": descriptors_of(params)})


def ways_with_picture(params: ObjectsParams) -> tuple[int, ...]:
    """Indices of the ways whose vectors have a part of the whole picture's, by all its objects together."""
    ways = enumerate(descriptors_of(params))
    return tuple(index for index, each in ways if each.crop is not None and each.crop.with_picture)


def of_texts(params: FindObjectsParams) -> tuple[str, ...]:
    """Names of the options that are not as they are by default, and have no effect where no text is looked for."""
    scale = "relevancy_scale"
    defaults = {name: each.default for name, each in TextParams.model_fields.items()}
    defaults[scale] = FindParams.model_fields[scale].default
    return tuple(name for name, default in defaults.items() if getattr(params, name) != default)


def are_given(source: ObjectSource | None) -> bool:
    """Whether the masks are there already, so that SAM2 need not make them."""
    if source is None:
        return False
    tensors = (source.bitmaps, source.label_map)
    return bool(source.boxes or source.rle or source.png) or any(each is not None for each in tensors)
