"""Features in smaller element types, and what that changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_host
from featsvc.v1.schema import FeatureDType
from featsvc.work.results import Rounding

BAND_ELEMENTS = 1 << 20
"""Elements that are rounded at a time: what is made on the way stays in the cache."""
LARGEST_INT8 = 127

ITEM_BYTES: Mapping[FeatureDType, int] = {
    FeatureDType.FLOAT32: 4,
    FeatureDType.FLOAT16: 2,
    FeatureDType.BFLOAT16: 2,
    FeatureDType.INT8: 1,
}
TORCH: Mapping[FeatureDType, torch.dtype] = {
    FeatureDType.FLOAT16: torch.float16,
    FeatureDType.BFLOAT16: torch.bfloat16,
    FeatureDType.INT8: torch.int8,
}


class Narrowed(NamedTuple):
    """Features in another type, on their device."""

    values: Tensor
    beside: tuple[Tensor, ...] = ()
    """What `rounding_of` says of them; nothing where they are float32 still."""


def narrowed(features: Tensor, dtype: FeatureDType) -> Narrowed:
    """Float32 features … x D in another type, and how far they are from what they were.

    int8: `scale` is the largest absolute value of each channel over 127, and integers times scale are the features.
    float16: what is beyond its range, 65504, is brought to its end; bfloat16 rounds to nearest even.
    """
    if dtype is FeatureDType.FLOAT32:
        return Narrowed(features)
    flat = features.reshape(-1, features.shape[-1])
    scale = _scale(flat) if dtype is FeatureDType.INT8 else None
    answer = torch.empty(flat.shape, dtype=TORCH[dtype], device=flat.device)
    largest, total = flat.new_zeros(()), flat.new_zeros((), dtype=torch.float64)
    for band in _bands(flat):
        step()
        small = _narrow(flat[band], scale, TORCH[dtype])
        answer[band] = small
        error = (small.float() if scale is None else small.float() * scale).sub_(flat[band]).abs_()
        largest = torch.fmax(largest, error.max())
        total = total + error.sum(dtype=torch.float64)
    mean = total / max(1, flat.numel())
    return Narrowed(answer.view(features.shape), (largest, mean, *([] if scale is None else [scale])))


def rounding_of(*beside: Tensor) -> Rounding | None:
    """What is said of narrowed features, by what is beside them, in the host's memory."""
    if not beside:
        return None
    largest, mean, *scale = beside
    return Rounding(float(largest), float(mean), scale[0].numpy() if scale else None)


def rounded(features: Tensor, dtype: FeatureDType) -> tuple[Tensor, Rounding | None]:
    """The same in the host's memory, unless they are float32 still."""
    made = narrowed(features, dtype)
    if not made.beside:
        return made.values, None
    *beside, values = on_host(*made.beside, made.values)
    return values, rounding_of(*beside)


def typed(values: Tensor, dtype: FeatureDType) -> Tensor:
    """Float32 values in another type but int8, on their device."""
    return _narrow(values, None, TORCH[dtype]) if dtype in TORCH else values


def as_array(values: Tensor) -> NDArray[Any]:  # Any: of the element type of the tensor
    """Values in the host's memory; bfloat16, which numpy lacks, as its bits."""
    (home,) = on_host(in_order(values))
    return array_of(home, values.dtype)


def in_order(values: Tensor) -> Tensor:
    """Values as their array will lie in memory: a GPU takes a fraction of the time for that; bfloat16 as its bits."""
    along = values.contiguous()
    return along.view(torch.int16) if values.dtype is torch.bfloat16 else along


def array_of(home: Tensor, dtype: torch.dtype) -> NDArray[Any]:  # Any: as above
    """The array of values of this type that are in the host's memory, in order."""
    array: NDArray[Any] = home.numpy()
    return array.view(np.uint16) if dtype is torch.bfloat16 else array


def _bands(flat: Tensor) -> Iterator[slice]:
    rows = max(1, BAND_ELEMENTS // max(1, flat.shape[1]))
    return (slice(start, start + rows) for start in range(0, len(flat), rows))


def _scale(flat: Tensor) -> Tensor:
    """One factor for each channel; 1 where a channel is 0 everywhere, or there are no rows, as any would do."""
    if not len(flat):
        return flat.new_ones(flat.shape[1])
    low, high = torch.aminmax(flat, dim=0)
    scale = torch.maximum(-low, high) / LARGEST_INT8
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def _narrow(band: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    if scale is not None:
        return (band / scale).round_().clamp_(-LARGEST_INT8, LARGEST_INT8).to(dtype)
    if dtype is torch.float16:
        band = band.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    return band.to(dtype)
