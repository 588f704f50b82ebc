"""Streams of a CUDA that is not there, whose copies come as late as they may, or too early where nothing forbids it."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tests.engines.pretended.graphs import rubbish
from tests.engines.pretended.tensors import Block, OnDevice

Wait = Callable[[str, torch.device], None]


@dataclass(frozen=True)
class Copy:
    """What a stream is to bring home."""

    there: Tensor
    """Of the host; rubbish until it is brought."""
    value: Callable[[], Tensor]
    """What it then is: of the memory of the device as it is then."""
    block: weakref.ref[Block]
    """That memory."""
    is_early: bool
    """Whether nothing made it wait for what it copies."""

    def bring(self) -> None:
        """Brings it, or rubbish where that memory is another's by now."""
        right = not self.is_early and self.block() is not None
        self.there.copy_(self.value() if right else rubbish(self.there))


@dataclass(eq=False)
class PretendedStream:
    """What a device is given to do, beside what all others are."""

    streams: Streams
    device: torch.device
    is_main: bool = False
    priority: int = 0
    seen: int = -1
    """What of the main stream's work is done before its own."""
    copies: list[Copy] = field(default_factory=list)
    kept: list[Block] = field(default_factory=list)
    """Memory that is nobody else's before its work is done."""
    own: weakref.WeakSet[Block] = field(default_factory=weakref.WeakSet)
    """Memory that it has filled itself."""

    def wait_stream(self, other: PretendedStream) -> None:
        """What comes is done after what the other was given."""
        if other.is_main:
            self.seen = self.streams.asked[self.device]

    def record_event(self) -> PretendedEvent:
        """When all that it was given is done."""
        return PretendedEvent(self, list(self.copies))

    def synchronize(self) -> None:
        """Waits for all of it."""
        if self.is_main:
            self.streams.wait("stream", self.device)
        else:
            self.record_event().synchronize()


@dataclass(eq=False)
class PretendedEvent:
    """A point in what a stream is given."""

    stream: PretendedStream
    copies: list[Copy]

    def synchronize(self) -> None:
        """Waits for it."""
        self.stream.streams.note_event(self.stream.device)
        for each in self.copies:
            each.bring()
        self.copies.clear()
        self.stream.kept.clear()


class Streams:
    """Those of all devices."""

    def __init__(self, wait: Wait, note_event: Callable[[torch.device], None]) -> None:
        self.wait = wait
        self.note_event = note_event
        self.asked = Counter[torch.device]()
        """How much the main stream of each device was given."""
        self._current: PretendedStream | None = None
        self.chosen: dict[int, tuple[str, bool]] = {}
        """The device that each thread has made its current one, and whether any had work before. Where none is named
        cuda:0 is taken all the same, so that it shows."""
        self.device_index = 0
        """The device that is meant where none is named."""

    def main(self, device: torch.device) -> PretendedStream:
        """The current one, if that is the device's, or its main one."""
        current = self._current
        if current is not None and current.device == device:
            return current
        return PretendedStream(self, device, is_main=True)

    @contextmanager
    def within(self, stream: PretendedStream) -> Iterator[None]:
        """As `torch.cuda.stream`."""
        before, self._current = self._current, stream
        try:
            yield
        finally:
            self._current = before

    @contextmanager
    def within_device(self, device: torch.device) -> Iterator[None]:
        """As `torch.cuda.device`."""
        before, self.device_index = self.device_index, device.index
        try:
            yield
        finally:
            self.device_index = before

    def choose(self, device: torch.device) -> None:
        """As `torch.cuda.set_device`."""
        self.chosen.setdefault(threading.get_ident(), (str(device), bool(self.asked)))

    def note_asked(self, device: torch.device) -> None:
        """The current stream is given something."""
        if self._current is None or self._current.device != device:
            self.asked[device] += 1

    def owned(self, block: Block) -> Block:
        """Memory that the current stream fills first."""
        if self._current is not None:
            self._current.own.add(block)
        return block

    def takes(self, source: Tensor, there: Tensor, value: Callable[[], Tensor]) -> bool:
        """Whether a copy home is left to a stream beside the main one."""
        current = self._current
        if current is None or not isinstance(source, OnDevice):
            return False
        is_early = source.block not in current.own and current.seen < self.asked[source.device]
        current.copies.append(Copy(there, value, weakref.ref(source.block), is_early))
        return True

    def facts(self, numbered: Callable[[Any], torch.device]) -> dict[str, Callable[..., Any]]:
        """What torch has for streams."""
        return {
            "Stream": lambda device, priority=0: PretendedStream(self, numbered(device), priority=priority),
            "stream": self.within,
            "device": lambda device: self.within_device(numbered(device)),
            "set_device": lambda device: self.choose(numbered(device)),
            "current_device": lambda: self.device_index,
            "current_stream": lambda device=None: self.main(numbered(device)),
        }
