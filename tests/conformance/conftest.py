"""The server that the pages mean, and a folder as their readers have it."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.pictures import scene
from tests.conformance.runners import ROOT

PORTS = (50051, 8096, 8097, 8098)


@pytest.fixture(scope="package")
def make_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`make serve`, with the documented ports and key, ready for work."""
    skip_if_taken()
    log: Path = tmp_path_factory.mktemp("make_serve") / "log"
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
