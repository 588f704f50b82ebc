"""A CUDA that is not there: tensors that say they are on cuda:N, computed on the CPU, with the rules of a GPU.

What a GPU refuses is refused: tensors of two devices in one operator, numpy of a device tensor, norms of two types, a
device that does not exist, more memory than there is. What it waits for is counted, and where. `tolist` of a device
tensor, which waits unseen, is refused too. Kernels are the CPU's: neither their speed, nor their last digits, nor
limits of their own are a GPU's.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from featsvc.engines.networks.graphs import capture_stream
from featsvc.engines.running import homeward, transfer
from tests.engines.pretended import streams
from tests.engines.pretended.graphs import Capturing, rubbish
from tests.engines.pretended.rules import (
    OTHERS,
    check,
    copied_indices,
    gives_numbers,
    has_kernel,
    is_made_of_others,
)
from tests.engines.pretended.streams import Streams
from tests.engines.pretended.tensors import Block, OnDevice, held_by, look, mapped

aten = torch.ops.aten
CPU = torch.device("cpu")
ROOMY = 1 << 36
"""Bytes of a device that has enough for everything."""
LEAST_CAPABILITY = (7, 5)
"""That torch's code is for."""
NOT_ASKED_BY = (__file__, transfer.__file__, homeward.__file__, streams.__file__)
WITHOUT_KERNEL = {aten.empty.memory_format, aten.empty_strided.default}
"""What gives memory and starts no kernel; views and copies do not either."""


class PretendCuda:
    """GPUs of one process. `installed` for the process, `at_work` for each thread that uses them."""

    def __init__(
        self, count: int = 2, capacity: int | None = None, capability: tuple[int, int] = (9, 0)
    ) -> None:
        self.count, self.capacity, self.capability = count, capacity, capability
        self.operators = Counter[Any]()
        self.waits = Counter[tuple[str, str]]()
        """What the CPU waits for while it has nothing else to give to the device, and where."""
        self.homecomings = Counter[str]()
        """Copies home that were waited for beside the device, and where."""
        self.uploads = Counter[str]()
        """Copies to a device, by where. One that blocks waits for all that was asked of the device before."""
        self.live, self.peak = Counter[str](), Counter[str]()
        self.lacks = Counter[str]()
        """How often memory ran out."""
        self.reserved = Counter[str]()
        """What torch's allocator would hold: it keeps what is freed until it is told to give it back."""
        self.touched: dict[str, str] = {}
        """Devices that were given anything to do or to hold, and where that began."""
        self.capturing = Capturing(self._synchronize, self._give_back)
        self.streams = Streams(self._settle, self._note_event)
        self._busy: set[torch.device] = set()
        self._pinned = WeakTensorKeyDictionary()
        self._coming: dict[torch.device, list[tuple[Tensor, Tensor]]] = {}
        """Tensors on the CPU that a device is to fill, and with what; until the next wait they hold rubbish."""
        self._blocks: WeakValueDictionary[int, Block] = WeakValueDictionary()

    @contextmanager
    def installed(self) -> Iterator[PretendCuda]:
        """Within the block torch says that there are GPUs, of which number 0 is the current one at first."""
        facts: dict[str, Callable[..., Any]] = {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: self.count,
            "get_device_capability": lambda device=None: self.capability,
            **self.streams.facts(lambda device: self.numbered(torch.device(device or "cuda"))),
            "synchronize": self._synchronize,
            **self.capturing.facts(),
            "get_device_properties": lambda device: SimpleNamespace(
                name="Pretended", uuid=f"number {self.numbered(torch.device(device)).index}"
            ),
            "mem_get_info": self._memory,
            "memory_allocated": lambda device: self.live[str(device)],
            "memory_reserved": lambda device: self.reserved[str(device)],
            "empty_cache": self._give_back,
        }
        saved = {name: getattr(torch.cuda, name) for name in facts}
        rounds = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        capture_stream.cache_clear()
        for name, fact in facts.items():
            setattr(torch.cuda, name, fact)
        # A module that moves gets new parameters: the data of one cannot become those of another class.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        torch._C._ensureCUDADeviceGuardSet()  # as FakeTensorMode: guards of CUDA ask no driver
        try:
            yield self
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = rounds
            capture_stream.cache_clear()
            for name, old in saved.items():
                setattr(torch.cuda, name, old)

    @contextmanager
    def at_work(self) -> Iterator[PretendCuda]:
        """Within the block this thread may use the device."""
        lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes its tensor here and copies it there
        try:
            with _Operators(self):
                yield self
        finally:
            torch._C._set_only_lift_cpu_tensors(lifts)

    def without_kernel(self) -> list[str]:
        """Operators that were used and that no GPU could run with this build of torch."""
        return [str(each) for each in self.operators if not has_kernel(each)]

    def is_busy(self, device: str) -> bool:
        """Whether it was given anything that nobody has waited for."""
        return torch.device(device) in self._busy

    def forget(self) -> None:
        """Counts anew."""
        for each in (self.operators, self.waits, self.homecomings, self.uploads, self.touched, self.lacks):
            each.clear()

    def act(self, func: Any, found: list[Tensor], asked: torch.device | None, args: Any, kwargs: Any) -> Any:
        """What an operator makes of tensors in the memory of their device, or of the one asked for."""
        if func is aten._to_copy.default:
            return self._copied(args[0], asked or args[0].device, kwargs)
        if func is aten.copy_.default:
            blocks = not (kwargs.get("non_blocking") or any(args[2:]))
            self._count_copy(args[1].device, args[0].device, blocks)
            self.capturing.made(func, (held_by(args[0]), held_by(args[1])), {})
            return args[0]
        check(func, found)
        if self.capability < LEAST_CAPABILITY and not (func.is_view or func in WITHOUT_KERNEL):
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
        self.operators[func] += 1
        target = asked or next(each.device for each in found if isinstance(each, OnDevice))
        self._touch(target)
        for _ in range(copied_indices(func, found)):
            self._count_copy(CPU, target, blocks=True)
        if gives_numbers(func, args):
            self._wait(str(func), target)
        elif not func.is_view:
            self._note_asked(target)
        if asked is not None:
            kwargs = {**kwargs, "device": CPU}
        made = self.capturing.made(func, mapped(held_by, args), mapped(held_by, kwargs))
        # An operator that works in place gives back the tensor that it was given.
        same = {id(each.held): each for each in found if isinstance(each, OnDevice)}

        def placed(each: Tensor) -> Tensor:
            return same[id(each)] if id(each) in same else self.placed(each, target)

        return mapped(placed, made)

    def placed(self, held: Tensor, device: torch.device) -> OnDevice:
        """The tensor in a device's memory, as long as something refers to it."""
        self._touch(device)
        storage = held.untyped_storage()
        block = self._blocks.get(storage._cdata)
        if block is None:
            name, nbytes = str(device), storage.nbytes()
            if self.capacity is not None and self.live[name] + nbytes > self.capacity:
                self.lacks[name] += 1
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {nbytes} bytes")
            block = self._blocks[storage._cdata] = self.streams.owned(Block(nbytes, name, self.live))
            self.peak[name] = max(self.peak[name], self.live[name])
            self.reserved[name] = max(self.reserved[name], self.live[name])
        return OnDevice(held, device, block)

    def numbered(self, device: torch.device) -> torch.device:
        """The device, which is the current one where none is named; one that is not there is an error."""
        number = self.streams.device_index if device.index is None else device.index
        if number >= self.count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        return torch.device("cuda", number)

    def _memory(self, device: torch.device | str) -> tuple[int, int]:
        """Free bytes of a device, and all."""
        total = ROOMY if self.capacity is None else self.capacity
        return total - self.reserved[str(device)], total

    def _give_back(self) -> None:
        for device in self.reserved:
            self.reserved[device] = self.live[device]

    def pinned(self, tensor: Tensor) -> Tensor:
        """A copy in pinned memory."""
        copy = tensor.clone()
        self._pinned[copy] = True
        return copy

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether it is one."""
        return tensor in self._pinned

    def _copied(self, source: Tensor, target: torch.device, kwargs: Any) -> Tensor:
        blocks = not kwargs.get("non_blocking")
        # CUDA takes what is large from ordinary memory only when it has nothing else to do.
        waits = target.type == "cuda" and source.nbytes > transfer.STAGED_BYTES and not self.is_pinned(source)
        self._count_copy(source.device, target, blocks or waits)
        plain = {"device": CPU, "pin_memory": False, "non_blocking": False}
        made: Tensor = self.capturing.made(aten._to_copy.default, (held_by(source),), {**kwargs, **plain})
        if target.type == "cuda":
            return self.placed(made, target)
        if not blocks:
            again = partial(aten._to_copy.default, held_by(source), **{**kwargs, **plain})
            if not self.streams.takes(source, made, again):
                self._coming.setdefault(source.device, []).append((made, made.clone()))
            made.copy_(rubbish(made))
        return made

    def _count_copy(self, source: torch.device, target: torch.device, blocks: bool) -> None:
        if source == target:
            self._note_asked(target)
        elif source.type == "cuda":
            if blocks or target.type == "cuda":
                self._wait(f"{source} to {target}", source)
        else:
            self.capturing.refuse()
            self.uploads[_line()] += 1
            if blocks and target in self._busy:
                self._wait(f"{source} to {target}", target)

    def _synchronize(self, device: str = "cuda") -> None:
        self._settle("synchronize", self.numbered(torch.device(device)))

    def _settle(self, what: str, device: torch.device) -> None:
        """Waits for all that the device was given, which is nothing where it was waited for already."""
        self.capturing.refuse()
        if device in self._busy or self._coming.get(device):
            self._wait(what, device)

    def _wait(self, what: str, device: torch.device) -> None:
        self.capturing.refuse()
        self.waits[what, _line()] += 1
        self._touch(device)
        self._busy.discard(device)
        for there, value in self._coming.pop(device, ()):
            there.copy_(value)

    def _note_asked(self, device: torch.device) -> None:
        self._busy.add(device)
        self.streams.note_asked(device)

    def _note_event(self, device: torch.device) -> None:
        self.homecomings[_line()] += 1
        self._touch(device)

    def _touch(self, device: torch.device) -> None:
        if str(device) not in self.touched:
            self.touched[str(device)] = _line()


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch is typed in part
    """Whatever this thread asks torch for."""

    def __init__(self, cuda: PretendCuda) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._cuda = cuda

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found: list[Tensor] = []
        devices: list[torch.device] = []
        look(args, found, devices)
        look(kwargs.values(), found, devices)
        if func in (aten.pin_memory.default, aten._pin_memory.default):  # the second without inference_mode
            return self._cuda.pinned(args[0])
        if func is aten.is_pinned.default:
            return self._cuda.is_pinned(args[0])
        on_cuda = any(each.type == "cuda" for each in devices)
        if not on_cuda and not any(isinstance(each, OnDevice) for each in found):
            return func(*args, **kwargs)
        if is_made_of_others(func):  # under inference_mode these come whole
            with self:
                return func._op_dk(OTHERS, *args, **kwargs)
        asked = next(iter(devices), None)
        if asked is not None and asked.type == "cuda":
            asked = self._cuda.numbered(asked)
        return self._cuda.act(func, found, asked, args, kwargs)


def _line() -> str:
    """The line of featsvc that asked, or of a library between."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        path = frame.f_code.co_filename
        if "/torch/" not in path and path not in NOT_ASKED_BY:
            return f"{'/'.join(path.split('/')[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"
