"""What a question about objects means where it leaves something out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from featsvc.v1.schema import (
    ClipView,
    DescribeObjectsParams,
    FindObjectsParams,
    ObjectDescriptor,
    ObjectSource,
    PooledDescriptor,
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


def are_given(source: ObjectSource | None) -> bool:
    """Whether the masks are there already, so that SAM2 need not make them."""
    if source is None:
        return False
    tensors = (source.bitmaps, source.label_map)
    return bool(source.boxes or source.rle or source.png) or any(each is not None for each in tensors)
