"""What a question about objects means where it leaves something out."""

from __future__ import annotations

from collections.abc import Sequence

from featsvc.v1.schema import (
    ClipView,
    DescribeObjectsParams,
    FindObjectsParams,
    ObjectDescriptor,
    ObjectSource,
    PooledDescriptor,
)

ObjectsParams = DescribeObjectsParams | FindObjectsParams
DEFAULT = ObjectDescriptor(clip=ClipView(), pooled=PooledDescriptor())


def descriptors_of(params: ObjectsParams) -> Sequence[ObjectDescriptor]:
    """The ways in which objects are described."""
    return params.describe or (DEFAULT,)


def are_given(source: ObjectSource | None) -> bool:
    """Whether the masks are there already, so that SAM2 need not make them."""
    if source is None:
        return False
    tensors = (source.bitmaps, source.label_map)
    return bool(source.boxes or source.rle or source.png) or any(each is not None for each in tensors)
