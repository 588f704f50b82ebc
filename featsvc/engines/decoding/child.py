"""A decoder process: python -m featsvc.engines.decoding.child FD LIMITS, FD being its end of a socket pair."""

from __future__ import annotations

import json
import mmap
import os
import resource
import socket
import sys

from PIL import Image

from featsvc.engines.decoding.processes import READY, shared
from featsvc.engines.decoding.reading import PictureLimits, read
from featsvc.errors import InvalidFields, OutOfMemory
from featsvc.processes import leave_signals_to_parent

# For a pixel: what a decoder makes of it, that as RGB, turned, and a copy of each.
PIXEL_BYTES = 32
BESIDE_BYTES = 512 << 20
LONGEST_ERROR = 2000


def main() -> None:
    """Decode file after file, until the other end is closed."""
    leave_signals_to_parent()
    settings = json.loads(sys.argv[2])
    limits = PictureLimits(tuple(settings["formats"]), settings["max_pixels"])
    Image.MAX_IMAGE_PIXELS = None  # ours is checked before decoding; Pillow's only adds a warning
    Image.init()
    _bound_memory(BESIDE_BYTES + PIXEL_BYTES * limits.max_pixels)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        sock.sendall(READY)
        while True:
            request, files, _, _ = socket.recv_fds(sock, 1, 1)
            if not request:
                return
            _bound_time(settings["timeout_s"])
            _answer(sock, files[0], limits, request == b"s")


def _answer(sock: socket.socket, fd: int, limits: PictureLimits, upright: bool) -> None:
    with os.fdopen(fd, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        content = bytes(mapped)
    try:
        picture = read(content, limits, upright)
        pixels = picture.pixels.tobytes()
    except InvalidFields as error:
        sock.sendall(json.dumps({"error": error.violations[0].message[:LONGEST_ERROR]}).encode())
        return
    except (OutOfMemory, MemoryError):  # of what it may have, and no good picture needs as much
        sock.sendall(json.dumps({"error": "decoding it takes too much memory"}).encode())
        return
    answer = json.dumps({"size": picture.pixels.size, "orientation": picture.orientation})
    with shared(pixels) as memory:
        socket.send_fds(sock, [answer.encode()], [memory.fileno()])


def _bound_memory(nbytes: int) -> None:
    """Beyond what the interpreter and its libraries have already."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (now + nbytes, now + nbytes))


def _bound_time(timeout_s: float) -> None:
    """Who asked kills this process when it has used that; if he is gone or looks late, the kernel does."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + timeout_s) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
