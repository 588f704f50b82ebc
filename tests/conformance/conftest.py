"""The server that the pages mean, and a folder as their readers have it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conformance.pictures import scene
from tests.conformance.runners import ROOT

PORTS = (50051, 8095, 8096, 8097, 8098)
# Less than a test may take.
PATIENCE_S = 150.0


# Of this folder, so that whoever waits for the ports has its turn afterwards; all here that want them are one share.
@pytest.fixture(scope="package")
def make_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`make serve`, with the documented ports and key, ready for work."""
    with alone():
        skip_if_taken()
        yield from served(tmp_path_factory.mktemp("make_serve") / "log")


@contextmanager
def alone() -> Iterator[None]:
    """Other tests on this machine that want the documented ports wait meanwhile; skips where they take too long."""
    with Path(tempfile.gettempdir(), "featsvc-documented-ports.lock").open("a") as file:
        # A lock that is waited for cannot be given up but with its thread.
        waiting = threading.Thread(target=fcntl.flock, args=(file.fileno(), fcntl.LOCK_EX), daemon=True)
        waiting.start()
        waiting.join(PATIENCE_S)
        if waiting.is_alive():
            pytest.skip(f"make serve: other tests have had the documented ports for {PATIENCE_S:g} s")
        yield


def served(log: Path) -> Iterator[None]:
    """The server, until the generator is closed."""
    # Without what an outer make has told its children, or the caller the server.
    outer = ("FEATSVC_", "MAKE", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            ["make", "serve"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as make,
    ):
        try:
            # Among them is the command, which make prints.
            if not any(is_ready(line) for line in make.stdout or ()):
                skip_if_taken()
                raise AssertionError(f"make serve ended: {log.read_text()[-3000:]}")
            yield
        finally:
            end_group(make)


def skip_if_taken() -> None:
    """Skips where somebody listens at a documented port: a test asks no server but its own."""
    for port in PORTS:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                socket.create_server((host, port), family=family).close()
            except OSError as error:
                # Other errors tell that the machine has no such address.
                if error.errno == errno.EADDRINUSE:
                    pytest.skip(f"make serve: port {port} is taken on this machine")


def is_ready(line: str) -> bool:
    """Whether the server says that it is."""
    return line.startswith("{") and json.loads(line)["event"] == "ready"


def end_group(leader: subprocess.Popen[str]) -> None:
    """Ends a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
    try:
        leader.wait(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the picture that the pages name."""
    scene().resize((192, 128)).save(tmp_path / "image.jpg")
    return tmp_path
