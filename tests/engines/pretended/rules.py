"""What a GPU takes, refuses, and makes the CPU wait for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tests.engines.pretended.tensors import OnDevice

aten = torch.ops.aten
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten._unsafe_index.Tensor}
"""Operators whose indices may be on the CPU: CUDA copies them itself, and waits."""
WAITING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default}
"""Operators that give the CPU a number or a size."""
WHOLE = {aten.scaled_dot_product_attention.default, aten.linear.default}
"""Operators made of others that are one kernel on a GPU."""
ONE_TYPE = {
    aten.native_layer_norm.default,
    aten.native_group_norm.default,
    aten.scaled_dot_product_attention.default,
}
"""Operators whose tensors have to be of one type on a GPU, and need not on a CPU."""
KINDS = (
    "CUDA",
    "CompositeImplicitAutograd",
    "CompositeExplicitAutograd",
    "CompositeExplicitAutogradNonFunctional",
)
"""Dispatch keys under which an operator runs on a GPU."""
OTHERS = torch._C.DispatchKey.CompositeImplicitAutograd


def check(func: Any, found: Sequence[Tensor]) -> None:
    """Raises where these tensors may not meet in an operator."""
    devices = {each.device for each in found if isinstance(each, OnDevice)}
    if len(devices) > 1:
        raise RuntimeError(f"{func}: tensors on {sorted(map(str, devices))}")
    for each in found if devices else ():
        scalar = each.dim() == 0 and torch.Tag.pointwise in func.tags
        if not (isinstance(each, OnDevice) or scalar or copied_indices(func, found)):
            raise RuntimeError(f"{func}: a tensor on the CPU, {tuple(each.shape)}, among those on {devices}")
    if func in ONE_TYPE and len({each.dtype for each in found}) > 1:
        raise RuntimeError(f"{func} of {[each.dtype for each in found]}: CUDA's takes one type")


def copied_indices(func: Any, found: Sequence[Tensor]) -> int:
    """How many indices of a tensor on the device are on the CPU."""
    if func not in INDEXED or not isinstance(found[0], OnDevice):
        return 0
    return sum(not isinstance(each, OnDevice) for each in found)


def gives_numbers(func: Any, args: Any) -> bool:
    """Whether the CPU has to know what comes out of it: a number, or how many there are."""
    bits = func in INDEXED and any(each is not None and each.dtype is torch.bool for each in args[1])
    return bits or func in WAITING


@cache
def is_made_of_others(func: Any) -> bool:
    """Whether it comes apart before a GPU sees it."""
    return func not in WHOLE and bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), OTHERS))


def has_kernel(func: Any) -> bool:
    """Whether this build of torch could run it on a GPU."""
    return any(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), kind) for kind in KINDS)
