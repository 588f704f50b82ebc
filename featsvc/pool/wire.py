"""Messages over a Unix socket; whatever is large travels beside them in an anonymous file, written once.

A frame is a header, an inline part and perhaps one file descriptor. Inline is the pickled message; or,
with a file, the pickled layout of that file: the pickle stream first, then each large buffer. The reader maps
the file and unpickles with views into it. The file has no name: nothing remains of it when a process dies.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import tempfile
from contextlib import ExitStack
from typing import Any

HEADER = struct.Struct("<IB")  # bytes of the inline part, number of files
LARGE_BYTES = 64 * 1024
ALIGNMENT = 64
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
POPULATE = getattr(mmap, "MAP_POPULATE", 0)


class _Parts:
    """A file for the pickler that keeps references to large bytes objects where a BytesIO would copy them."""

    def __init__(self) -> None:
        self.parts: list[bytes | memoryview] = []
        self.nbytes = 0

    def write(self, part: bytes | memoryview) -> int:
        self.parts.append(part if isinstance(part, bytes) else bytes(part))
        self.nbytes += len(part)
        return len(part)


class Unsendable(Exception):
    """A message could not be packed; nothing of it was sent."""


def send(sock: socket.socket, message: object) -> None:
    """Send a message; blocks. Raises Unsendable, or OSError when the peer is gone."""
    with ExitStack() as stack:
        try:
            head, files = _packed(message, stack)
        except Exception as error:  # pickling runs code of the message's classes
            raise Unsendable(f"a message of {type(message).__name__} cannot be packed") from error
        sent = socket.send_fds(sock, [head], files) if files else 0
        sock.sendall(head[sent:])


def _packed(message: object, stack: ExitStack) -> tuple[bytes, list[int]]:
    """Header and inline part, and the file that goes with them, if any; the stack closes it."""
    stream, buffers = _Parts(), []

    def keeps_inline(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE_BYTES:
            return True
        buffers.append(buffer.raw())
        return False

    pickle.Pickler(stream, protocol=5, buffer_callback=keeps_inline).dump(message)
    if not buffers and stream.nbytes < LARGE_BYTES:
        return HEADER.pack(stream.nbytes, 0) + b"".join(stream.parts), []
    fd = _anonymous_file()
    stack.callback(os.close, fd)
    inline = pickle.dumps(_written(fd, stream, buffers))
    return HEADER.pack(len(inline), 1) + inline, [fd]


def _written(fd: int, stream: _Parts, buffers: list[memoryview]) -> tuple[int, list[tuple[int, int]]]:
    """Write all parts; returns the bytes of the stream, and (offset, bytes) of each buffer."""
    end = 0
    for part in stream.parts:
        end = _write(fd, memoryview(part), end)
    stream_bytes, spans = end, []
    for view in buffers:
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        end = _write(fd, view, offset)
        spans.append((offset, view.nbytes))
    return stream_bytes, spans


def receive(sock: socket.socket) -> Any:  # Any: the peer's messages, told apart by their class
    """The next message; blocks, and raises EOFError when the peer is gone. Its arrays are read-only."""
    head, fds = _receive_header(sock)
    inline_bytes, files = HEADER.unpack(head)
    try:
        inline = _receive_exactly(sock, inline_bytes)
        return _mapped(fds[0], *pickle.loads(inline)) if files else pickle.loads(inline)
    finally:
        for fd in fds:
            os.close(fd)


def _mapped(fd: int, stream_bytes: int, spans: list[tuple[int, int]]) -> Any:
    mapping = mmap.mmap(fd, 0, flags=mmap.MAP_SHARED | POPULATE, prot=mmap.PROT_READ)
    view = memoryview(mapping)
    buffers = [view[offset : offset + nbytes] for offset, nbytes in spans]
    return pickle.loads(view[:stream_bytes], buffers=buffers)


def _receive_header(sock: socket.socket) -> tuple[bytes, list[int]]:
    head, fds, _, _ = socket.recv_fds(sock, HEADER.size, 1, CLOSE_ON_EXEC)
    if not head:
        raise EOFError("the peer is gone")
    return head + _receive_exactly(sock, HEADER.size - len(head)), fds


def _receive_exactly(sock: socket.socket, count: int) -> bytearray:
    block = bytearray(count)
    view = memoryview(block)
    while view:
        received = sock.recv_into(view)
        if not received:
            raise EOFError("the peer is gone")
        view = view[received:]
    return block


def _write(fd: int, view: memoryview, offset: int) -> int:
    """Write all of the view; returns the offset after it."""
    while view:
        written = os.pwrite(fd, view, offset)
        offset, view = offset + written, view[written:]
    return offset


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("featsvc", os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp(prefix="featsvc-")
    os.unlink(path)
    return fd
