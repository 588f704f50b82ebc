"""Nodes of Ray at addresses of the loopback interface, in a network and with processes of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from tests.servers import ROOT

ALONE = "TESTS_ALONE"
"""The variable that says that this process has a network of its own."""
PORT = 6379
STARTED = "Ray runtime started"
STORE_BYTES = 200 << 20


def is_alone() -> bool:
    """Whether this process has a network of its own."""
    return ALONE in os.environ


def alone(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a network that is its loopback interface, and with its own processes, which end with it."""
    unshare = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid():
        unshare.insert(1, "--map-root-user")
    script = 'ip link set lo up && exec "$@"'
    return subprocess.run(
        [*unshare, "sh", "-c", script, "sh", *words],
        cwd=folder,
        env={**os.environ, ALONE: "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ran_alone(module: str) -> int | None:
    """The exit status of this very program, run again where it is alone; None where it is that already."""
    if is_alone():
        return None
    ran = alone([sys.executable, "-m", module, *sys.argv[1:]], ROOT)
    print(ran.stdout)
    return ran.returncode


class Cluster:
    """Nodes that are started and killed by their numbers: the first is the head, node N has the address 127.0.0.N."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Ray's sockets lie in it, and their paths may have about 100 letters.
        self._temporary = Path(tempfile.mkdtemp(prefix="ray-"))
        self._nodes: dict[int, subprocess.Popen[str]] = {}
        self.address = f"127.0.0.1:{PORT}"
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self._temporary),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in tuple(self._nodes):
            self.kill(number)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def start(self, number: int, cpus: int) -> None:
        """Start a node, and wait until it has joined."""
        role = (
            ["--head", f"--port={PORT}", "--include-dashboard=false"]
            if number == 1
            else [f"--address={self.address}"]
        )
        words = [
            str(Path(sys.executable).with_name("ray")), "start", *role, "--block",
            f"--node-ip-address=127.0.0.{number}", f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}",
        ]  # fmt: skip
        environment = {**os.environ, **self.environment}
        log = self._folder / f"node {number}"
        with log.open("a") as errors:
            node = subprocess.Popen(
                words, env=environment, cwd=self._folder, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._nodes[number] = node
        assert node.stdout is not None
        _await(node.stdout, log)

    def kill(self, number: int) -> None:
        """Kill all processes of a node at once, as if its machine had lost its power."""
        node = self._nodes.pop(number)
        processes = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        node.wait()
        if node.stdout:
            node.stdout.close()


def _await(output: IO[str], log: Path) -> None:
    said = ""
    for line in output:
        said += line
        if STARTED in line:
            return
    raise AssertionError(f"a node did not start: {said[-2000:]} {log.read_text()[-2000:]}")
