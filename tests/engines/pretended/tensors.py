"""Tensors that say they are on a GPU, over tensors of the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Block:
    """Memory of a device that tensors share, free when the last of them has gone."""

    def __init__(self, nbytes: int, device: str, live: Counter[str]) -> None:
        self._nbytes, self._device, self._live = nbytes, device, live
        live[device] += nbytes

    def __del__(self) -> None:
        self._live[self._device] -= self._nbytes


class OnDevice(Tensor):
    """A tensor on a pretended GPU."""

    held: Tensor
    block: Block
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as torch tells to

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device, block: Block) -> OnDevice:
        # A view of a weight is no inference tensor, even where it is made within inference_mode.
        with torch.inference_mode(held.is_inference()):
            made: OnDevice = Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=device,
            )
        made.held, made.block = held, block
        return made

    def record_stream(self, stream: Any) -> None:
        """Its memory is not given away before what the stream was given until now is done."""
        stream.kept.append(self.block)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own stub lacks `func`
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{func} of a device tensor by a thread that has no business with the device")


def look(values: Iterable[Any], tensors: list[Tensor], devices: list[torch.device]) -> None:
    """The tensors and devices among arguments."""
    for each in values:
        if isinstance(each, Tensor):
            tensors.append(each)
        elif isinstance(each, torch.device):
            devices.append(each)
        elif isinstance(each, list | tuple):
            look(each, tensors, devices)


def mapped(change: Callable[[Tensor], Tensor], values: Any) -> Any:
    """The same with other tensors."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, list | tuple):
        return type(values)(mapped(change, each) for each in values)
    if isinstance(values, dict):
        return {name: mapped(change, each) for name, each in values.items()}
    return values


def held_by(tensor: Tensor) -> Tensor:
    """What is computed with."""
    return tensor.held if isinstance(tensor, OnDevice) else tensor
