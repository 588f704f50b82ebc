"""Shared memory for what is large, used again: fresh pages cost several times the copy that fills them.

A process writes into segments of its free list, lends each to its peer with a message, and gets it back when nothing
in the peer refers to that message any more. The files have no names: nothing remains of them when the processes die.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from featsvc.pool.transport.descriptors import Reserve

SMALLEST_BYTES = 1 << 20
MOST_KEPT = 16  # segments that are not in use: each has a descriptor
POPULATE_WRITE = 23  # linux/mman.h, MADV_POPULATE_WRITE; this Python has no name for it


@dataclass(eq=False)
class Segment:
    """A piece of shared memory; `fd` is the file's descriptor until the peer has it."""

    id: int
    mapping: mmap.mmap
    fd: int | None

    @property
    def nbytes(self) -> int:
        """Its size."""
        return len(self.mapping)

    def write(self, offset: int, part: bytes | memoryview) -> None:
        """Copy bytes in, without the interpreter's lock."""
        if not part:
            return
        target = np.frombuffer(self.mapping, np.uint8, len(part), offset)
        np.copyto(target, np.frombuffer(part, np.uint8))

    def close_file(self) -> None:
        """The peer has the file: the mapping keeps it."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class FreeList:
    """The segments that this process writes. Any thread may call."""

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self._lock = threading.Lock()
        self._free: list[Segment] = []
        self._lent: dict[int, Segment] = {}
        self._count = 0

    def take(self, nbytes: int) -> Segment:
        """A segment of at least that size: the smallest that is free, or else a new one."""
        with self._lock:
            fitting = [segment for segment in self._free if segment.nbytes >= nbytes]
            if fitting:
                segment = min(fitting, key=lambda each: each.nbytes)
                self._free.remove(segment)
            else:
                self._count += 1
                segment = self._reserve.use(partial(_new_segment, self._count, nbytes))
            self._lent[segment.id] = segment
            return segment

    def put_back(self, segment: int, is_mapped: bool) -> None:
        """The peer has returned a segment, and keeps it mapped or has dropped it."""
        with self._lock:
            returned = self._lent.pop(segment)
            if is_mapped:
                self._free.append(returned)

    def clear(self) -> None:
        """Let go of everything: the peer is gone."""
        with self._lock:
            self._free.clear()
            self._lent.clear()


class Borrowed:
    """The peer's segments as this process reads them. Keeps so many bytes that are not in use."""

    def __init__(self, kept_bytes: int, on_unused: Callable[[int], None]) -> None:
        self._kept_bytes = kept_bytes
        self._on_unused = on_unused
        self._lock = threading.Lock()
        self._mappings: dict[int, mmap.mmap] = {}
        self._idle: set[int] = set()
        self._users: dict[int, weakref.ref[np.ndarray[tuple[int], np.dtype[np.uint8]]]] = {}

    def add(self, segment: int, fd: int) -> None:
        """Map a segment that is new here. Its pages come as they are read."""
        with self._lock:
            self._mappings[segment] = mmap.mmap(fd, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)

    def view(self, segment: int) -> memoryview:
        """A segment's content, read-only. Once nothing refers to it, `on_unused` is called, by whichever thread."""
        with self._lock:
            self._idle.discard(segment)
            # An object of its own for each message, so that its end can be noticed.
            user = np.frombuffer(self._mappings[segment], np.uint8)
            on_unused = self._on_unused
            self._users[segment] = weakref.ref(user, lambda _: on_unused(segment))
            return user.data

    def give_back(self, segment: int) -> bool:
        """Take note that a segment is not in use; false if it is dropped, for too much is kept already."""
        with self._lock:
            del self._users[segment]
            mapping = self._mappings.pop(
                segment
            )  # unmapped, if so, by the caller's thread and outside the lock
            idle = [len(self._mappings[each]) for each in self._idle]
            if sum(idle) + len(mapping) > self._kept_bytes or len(idle) >= MOST_KEPT:
                return False
            self._mappings[segment] = mapping
            self._idle.add(segment)
            return True

    def clear(self) -> None:
        """Let go of all that is not in use."""
        with self._lock:
            mappings, self._mappings, self._users = self._mappings, {}, {}
            self._idle.clear()
        mappings.clear()


def _new_segment(number: int, nbytes: int) -> Segment:
    # In steps of an eighth, so that what is nearly as large fits too; only pages that are written take memory.
    step = max(SMALLEST_BYTES, 1 << max(0, (nbytes - 1).bit_length() - 4))
    size = -(-nbytes // step) * step
    fd = _anonymous_file()
    try:
        os.ftruncate(fd, size)
        mapping = mmap.mmap(fd, size)
        _populate(mapping, nbytes)
    except BaseException:
        os.close(fd)
        raise
    return Segment(number, mapping, fd)


def _populate(mapping: mmap.mmap, nbytes: int) -> None:
    """Have the pages made now: cheaper than one by one, and no memory is an error and not a fatal signal."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)  # mmap.madvise would hold the interpreter's lock meanwhile
    start = np.frombuffer(mapping, np.uint8).ctypes.data
    if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(nbytes), POPULATE_WRITE):
        code = ctypes.get_errno()
        if code != errno.EINVAL:  # which an older kernel says: then pages come one by one
            raise OSError(code, os.strerror(code))


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("featsvc", os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp(prefix="featsvc-")
    os.unlink(path)
    return fd
