"""The test stand: its servers, started when a row first asks for them, and its clients."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from tests.bench.bare_sam2 import Peak as Peak
from tests.bench.children import Child, environment
from tests.bench.figures import Side
from tests.servers import FREE_PORTS, FREE_REST_PORTS, KEY, ROOT, Server

FOLDER = ROOT / "build" / "bench"
PORTS = ("grpc_port", "clip_port", "dino_port", "sam2_port")


@dataclass(frozen=True)
class Pace:
    """How long to measure, and how often."""

    repetitions: int
    seconds: float
    requests: int
    """Of a run that is counted, not timed."""
    quick: bool = False


QUICK = Pace(repetitions=2, seconds=1.0, requests=150, quick=True)
FULL = Pace(repetitions=4, seconds=4.0, requests=500)


class Stand:
    """Everything that rows measure with. Leaving it ends every program it started."""

    def __init__(self, pace: Pace, threads: int = 1) -> None:
        self.pace, self.threads = pace, threads
        self._stack = contextlib.ExitStack()
        self._logs, self._asked = itertools.count(1), 0
        FOLDER.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_all(self) -> None:
        """Start what several rows use, side by side: it mostly waits for imports and files."""
        with ThreadPoolExecutor(3) as threads:
            demo = threads.submit(lambda: (self.demo, self.load, self.more_load))
            others = [
                threads.submit(getattr, self, name)
                for name in ("real", "plain", "bare", "bf16")
                if self.weights
            ]
            for each in (demo, *others):
                each.result()

    @cached_property
    def weights(self) -> Path:
        """The folder of random weights, written if they are not there."""
        folder = FOLDER / "weights"
        with (FOLDER / "weights.log").open("w") as log:
            subprocess.run(
                [sys.executable, "-m", "tests.bench.weights", str(folder)],
                cwd=ROOT, env=environment(2), stdout=log, stderr=log, check=True,
            )  # fmt: skip
        return folder

    @contextlib.contextmanager
    def featsvc(self, command: str, *flags: str) -> Iterator[Server]:
        """A server of this project with the threads of all sides."""
        rest = FREE_REST_PORTS if command == "up" else ()
        fixed = (f"--api-key={KEY}", "--devices=cpu", f"--threads={self.threads}", "--offline")
        log = FOLDER / f"featsvc-{next(self._logs)}.log"
        # As every other side: in a session of its own, for Linux shares processor time out between sessions.
        words = (command, *FREE_PORTS, *rest, *fixed, *flags)
        with Child("featsvc", *words, log=log, env=environment(self.threads)) as child:
            child.line()  # ready
            ports = {name: child.about.get(name, 0) for name in PORTS}
            yield Server(child.process, **ports, log=log)

    def child(self, module: str, *arguments: object, **more: str) -> Child:
        """A program of the benchmark, ended with the stand."""
        log = FOLDER / f"{module.rpartition('.')[2]}-{next(self._logs)}.log"
        words = [str(each) for each in arguments]
        made = Child(f"tests.bench.{module}", *words, log=log, env=environment(self.threads, **more))
        self._stack.enter_context(made)
        if "port" in made.about:
            made.await_port()
        return made

    @cached_property
    def demo(self) -> Server:
        """`featsvc up` with the demo models."""
        return self._stack.enter_context(self.featsvc("up", "--profile=demo", "--max-reply-bytes=1GiB"))

    @cached_property
    def real(self) -> Server:
        """`featsvc up` with the random weights."""
        return self._stack.enter_context(self.featsvc("up", f"--weights-dir={self.weights}"))

    @cached_property
    def bf16(self) -> Server:
        """The same in bfloat16."""
        return self._stack.enter_context(
            self.featsvc("serve", f"--weights-dir={self.weights}", "--precision=bf16")
        )

    @cached_property
    def bare(self) -> Child:
        """The bare networks."""
        return self.child("bare", self.threads, self.weights)

    @cached_property
    def plain(self) -> Child:
        """The plain FastAPI server."""
        return self.child("peers.plain", self.threads, self.weights)

    @cached_property
    def load(self) -> Child:
        """Clients."""
        return self.child("load")

    @cached_property
    def more_load(self) -> Child:
        """Other clients, for rows with two kinds at once."""
        return self.child("load")

    def fresh(self, count: int = 4096) -> int:
        """The first of so many question numbers that nobody has asked yet."""
        self._asked += count
        return self._asked

    # Any: a specification of load.run, and its answer.
    def grpc(self, server: Server, ask: str, args: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Clients of a featsvc server over gRPC."""
        return self.load.ask(do="run", target=server.target, key=KEY, ask=ask, args=args, **spec)

    def http(self, url: str, ask: str, args: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Clients of any server over HTTP."""
        return self.load.ask(do="run", url=url, ask=ask, args=args, **spec)

    def alternated(
        self, *sides: tuple[str, Callable[[], float]], repetitions: int = 0, slow: str = ""
    ) -> list[Side]:
        """Each side measured in turn, so that what disturbs the machine disturbs all of them.

        In a short run the `slow` one is measured once.
        """
        values: dict[str, list[float]] = {name: [] for name, _ in sides}
        for number in range(repetitions or self.pace.repetitions):
            for name, measure in sides if number % 2 == 0 else reversed(sides):
                if not (number and self.pace.quick and name == slow):
                    values[name].append(measure())
        return [Side.of(name, values[name]) for name, _ in sides]


def worker_of(server: Server) -> psutil.Process:
    """The worker process of a server."""
    if not server.workers:
        raise RuntimeError("the server has no worker")
    return server.workers[0]


def processor_seconds(process: psutil.Process) -> float:
    """Processor time that a process has used, all threads."""
    times = process.cpu_times()
    return float(times.user + times.system)
