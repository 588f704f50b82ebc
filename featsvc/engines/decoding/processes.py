"""Decoding in processes of their own: what takes too long, or whose caller has left, is ended.

What crashes or fills its memory harms nobody.

A decoder is a fresh interpreter that knows Pillow and no more. It is kept for the next picture. A file and its pixels
go by shared memory; its answer is one line of JSON beside them.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from io import FileIO

from PIL import Image

from featsvc.engines.decoding.reading import FIELD, Decoded, PictureLimits
from featsvc.engines.running.steps import step
from featsvc.errors import InvalidFields, Unavailable, invalid_field

log = logging.getLogger("featsvc.engines.decoding")

MOST_DECODERS = 2
"""Decoders at work: a picture that takes long has one processor at most, and so have two of them."""
LONGEST_ANSWER = 1 << 16
START_S = 60.0
POLL_S = 0.1
"""How often it is asked whether somebody waits, and what a decoder has used."""
PATIENCE = 6
"""Seconds that a decoder may take, for each that it may compute: a machine that is busy is no fault of the picture."""
READY = b"+"
NO_ROOM = "the server has no memory or descriptors left to decode this picture; try again"


class Decoders:
    """Decoder processes, started when they are needed; threads may share it."""

    def __init__(self, limits: PictureLimits, timeout_s: float) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()
        self._permits = threading.BoundedSemaphore(MOST_DECODERS)

    def read(self, content: bytes, upright: bool) -> Decoded:
        """As `reading.read`, in another process; InvalidFields where that takes too long or dies of it.

        Raises Abandoned as `step` does.
        """
        with self._permits:
            decoder = self._idle_one() or _Decoder(self._limits, self._timeout_s)
            try:
                picture = decoder.read(content, upright)
            except BaseException:
                decoder.end()
                raise
            with self._lock:
                self._idle.append(decoder)
        if isinstance(picture, str):
            raise invalid_field(FIELD, picture)
        return picture

    def _idle_one(self) -> _Decoder | None:
        """One that lives still: another may have died meanwhile, and no picture was the cause."""
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.is_alive:
                    return decoder
                decoder.end()
        return None


class _Decoder:
    """One process."""

    def __init__(self, limits: PictureLimits, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        settings = json.dumps(asdict(limits) | {"timeout_s": timeout_s})
        words = [sys.executable, "-P", "-W", "ignore", "-m", "featsvc.engines.decoding.child"]
        try:
            self._process = subprocess.Popen(
                [*words, str(theirs.fileno()), settings],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            self._socket.close()
            log.error("a decoder cannot be started: %s", error)
            raise Unavailable("no process can be started to decode this picture; try again") from None
        finally:
            theirs.close()
        self._socket.settimeout(START_S)
        try:
            is_ready = self._socket.recv(1) == READY
        except OSError:
            is_ready = False
        if not is_ready:
            self.end()
            log.error("a decoder does not start")
            raise Unavailable("no process starts to decode this picture; try again")

    @property
    def is_alive(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    def read(self, content: bytes, upright: bool) -> Decoded | str:
        """The picture, or what is wrong with its file.

        Raises InvalidFields where the process is of no more use, Unavailable where this one lacks memory or files.
        """
        try:
            memory = shared(content)
        except OSError as error:
            log.error("a picture cannot be given to a decoder: %s", error)
            raise Unavailable(NO_ROOM) from None
        self._socket.settimeout(POLL_S)
        try:
            with memory as file:
                socket.send_fds(self._socket, [b"s" if upright else b"-"], [file.fileno()])
            answer, files = self._answer()
        except OSError:
            answer, files = b"", []
        if not answer:
            self._process.kill()
            if self._process.wait() == -signal.SIGXCPU:
                raise self._too_long()
            log.warning("a decoder died of a picture")
            raise invalid_field(FIELD, "is damaged, or takes too much memory: its decoder died of it")
        facts = json.loads(answer)
        if "error" in facts:
            return str(facts["error"])
        if not files:
            log.error("the pixels of a decoder cannot be taken: no descriptors are left")
            raise Unavailable(NO_ROOM)
        with (
            FileIO(files[0]) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pixels,
        ):
            picture = Image.frombytes("RGB", tuple(facts["size"]), pixels)  # type: ignore[arg-type]  # any buffer
        return Decoded(picture, facts["orientation"])

    def _answer(self) -> tuple[bytes, list[int]]:
        """What it says, and what it gives; raises InvalidFields where that takes too long."""
        began, used_s = time.monotonic(), self._used_s() or 0.0
        while True:
            try:
                answer, files, _, _ = socket.recv_fds(self._socket, LONGEST_ANSWER, 1)
                return answer, files
            except TimeoutError:
                step()
            took_s, now_s = time.monotonic() - began, self._used_s()
            computed_s = took_s if now_s is None else now_s - used_s
            if computed_s > self._timeout_s or took_s > PATIENCE * self._timeout_s:
                raise self._too_long()

    def _used_s(self) -> float | None:
        """Its processor time so far; None where the system does not tell."""
        if sys.platform != "linux":
            return None
        try:
            # The number of another process's clock, as clock_getcpuclockid() makes it.
            return time.clock_gettime(~self._process.pid << 3 | 2)
        except OSError:
            return None

    def _too_long(self) -> InvalidFields:
        return invalid_field(
            FIELD,
            f"decoding it takes longer than {self._timeout_s:g} s (--decode-timeout): save it anew, for instance "
            "as a baseline JPEG or a PNG file",
        )

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.end()


def shared(content: bytes) -> FileIO:
    """A file of this content in memory, without a name."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("picture")
    else:  # macOS has none
        fd, name = tempfile.mkstemp()
        os.unlink(name)
    file = FileIO(fd, "r+")
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
    return file
