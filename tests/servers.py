"""Starts the real server, as a user would, on free loopback ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from featsvc.pool.worker.life import NAME as WORKER

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]

KEY = "a-key-of-the-tests"
KEY_OF_OTHERS = "a-key-of-somebody-else"
ROOT = Path(__file__).parents[1]
FREE_PORTS = ("--grpc-port=0",)
FREE_REST_PORTS = ("--page-port=0", "--clip-port=0", "--dino-port=0", "--sam2-port=0")
PORTS = ("grpc_port", "clip_port", "dino_port", "sam2_port", "metrics_port", "page_port")
START_S = 120


@dataclass(frozen=True)
class Server:
    """A running `featsvc up` or `featsvc serve`."""

    process: subprocess.Popen[str]
    grpc_port: int
    clip_port: int
    dino_port: int
    sam2_port: int
    log: Path
    metrics_port: int = 0
    """Where one was asked for."""
    page_port: int = 0

    @property
    def target(self) -> str:
        """Where gRPC answers."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def workers(self) -> list[psutil.Process]:
        """Its workers on this machine, whoever has started or forked them."""
        import psutil  # a machine for the check of a GPU lacks it

        family = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in family if each.name() == WORKER]

    def url(self, family: str) -> str:
        """Where REST answers for `clip`, `dino` or `sam2`, or the `page`."""
        return f"http://127.0.0.1:{getattr(self, f'{family}_port')}"


@contextmanager
def running(log: Path, command: str = "up", *flags: str, key: str | None = KEY) -> Iterator[Server]:
    """The server until the block ends; it is ready for work. Its log is in `log`.

    Environment variables of the caller that configure featsvc do not reach it.
    """
    rest = FREE_REST_PORTS if command == "up" else ()
    keys = (f"--api-key={key}",) if key else ()
    words = [sys.executable, "-m", "featsvc", command, *FREE_PORTS, *rest, *keys, *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
    with started(words, ROOT, environment, log) as server:
        yield server


@contextmanager
def started(words: list[str], folder: Path, environment: dict[str, str], log: Path) -> Iterator[Server]:
    """The server that this command line starts in a folder, as `running` gives it."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        assert process.stdout is not None
        ports = event(process.stdout, "listening", log)
        event(process.stdout, "ready", log)
        yield Server(
            process,
            **{name: ports.get(name, 0) for name in PORTS},
            log=log,
        )
    finally:
        stop(process)


def event(stdout: IO[str], name: str, log: Path) -> dict[str, int]:
    """The next line of the server, which must be this event."""
    line = stdout.readline()
    if not line or json.loads(line)["event"] != name:
        raise AssertionError(f"expected {name}, got {line!r}; log: {log.read_text()[-3000:]}")
    ports: dict[str, int] = json.loads(line)
    return ports


def stop(process: subprocess.Popen[str]) -> int:
    """Ends the server as a supervisor does, and gives its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    finally:
        if process.stdout:
            process.stdout.close()
