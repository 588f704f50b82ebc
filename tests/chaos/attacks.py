"""Attacks a server that this starts, over gRPC and REST, and prints what it cost: `python -m tests.chaos.attacks`.

Each attack runs in a process of its own while others ask small questions. The table tells, for each, by how many
megabytes the gateway, the shim and the worker grew at most, how many there were at most, the slowest small call of
others, how many of theirs failed, and by how much memory was larger and the slowest call slow ten seconds later.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import psutil

from featsvc.pool.worker.life import NAME as WORKER
from featsvc.pool.worker.template import NAME as TEMPLATE
from featsvc.v1 import clip_pb2, clip_pb2_grpc
from tests.chaos import grpc_attacks
from tests.servers import KEY, Server, running

MB = 1_000_000
OTHER_KEY = "the-key-of-others"
# What the project promises: growth of any process without a key, size of any with one, calls of others.
MOST_GROWTH_MB, MOST_SIZE_MB, SLOWEST_S = 150, 600, 1.0
LATER_S, LAST_LOOK_S = 10.0, 2.0
LIMIT_S = 60.0
LOOK_S = 0.02
# Of a server whose --give-back-after is a second.
REST_S, REST_LOOK_S = 15.0, 0.5
FLAGS = ("--profile=demo", "--offline", "--devices=cpu", "--preload=demo-clip", "--url-allow=127.0.0.1")
NAMES = {WORKER: "worker", TEMPLATE: "template"}


@dataclass
class Report:
    """What an attack did."""

    name: str
    has_key: bool
    growth_mb: dict[str, float] = field(default_factory=dict)
    largest_mb: dict[str, float] = field(default_factory=dict)
    left_mb: float = 0.0
    slowest_s: float = 0.0
    failed: int = 0
    slowest_later_s: float = 0.0
    lost: tuple[str, ...] = ()
    """Processes that did not survive."""

    @property
    def is_bounded(self) -> bool:
        """Whether memory stayed within what is promised, and every process alive."""
        growth, largest = max(self.growth_mb.values()), max(self.largest_mb.values())
        return not self.lost and (largest <= MOST_SIZE_MB if self.has_key else growth <= MOST_GROWTH_MB)

    def line(self) -> str:
        """A row of the table."""
        sizes = " ".join(f"{self.growth_mb[name]:7.0f}" for name in sorted(self.growth_mb))
        largest = max(self.largest_mb.values())
        verdict = "ok" if self.is_bounded and self.slowest_s < SLOWEST_S else "OVER"
        lost = f" lost {','.join(self.lost)}" if self.lost else ""
        return (
            f"{self.name:<28}{'key' if self.has_key else '':<4}{sizes} {largest:8.0f} {self.slowest_s:8.2f} "
            f"{self.failed:6} {self.left_mb:8.0f} {self.slowest_later_s:8.2f}  {verdict}{lost}"
        )


class Others:
    """Callers of small questions, with a key of their own, over gRPC and REST."""

    def __init__(self, server: Server) -> None:
        self._target, self._url = server.target, server.url("clip")
        self.slowest_s, self.failed = 0.0, 0
        self.first_failure = ""

    def clear(self) -> None:
        """Counts anew."""
        self.slowest_s, self.failed = 0.0, 0

    async def ask(self) -> None:
        """Asks for ever."""
        await asyncio.gather(self._ask_grpc(), self._ask_rest())

    async def _ask_grpc(self) -> None:
        asked = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a red circle"]))
        async with grpc.aio.insecure_channel(self._target) as channel:
            stub = clip_pb2_grpc.ClipServiceStub(channel)
            while True:
                began = time.monotonic()
                try:
                    await stub.EncodeText(
                        asked, metadata=(("authorization", f"Bearer {OTHER_KEY}"),), timeout=30
                    )
                except grpc.aio.AioRpcError as error:
                    self._fail(f"gRPC {error.code().name} {error.details()}")
                await self._next(began)

    async def _ask_rest(self) -> None:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {OTHER_KEY}"}, timeout=30) as client:
            while True:
                began = time.monotonic()
                try:
                    answer = await client.post(f"{self._url}/encode_text", json={"text": "a red circle"})
                    if answer.status_code != 200:
                        self._fail(f"REST {answer.status_code} {answer.text[:200]}")
                except httpx.HTTPError as error:
                    self._fail(f"REST {type(error).__name__}")
                await self._next(began)

    def _fail(self, why: str) -> None:
        self.failed += 1
        self.first_failure = self.first_failure or why

    async def _next(self, began: float) -> None:
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        await asyncio.sleep(0.05)


def processes(server: Server) -> dict[str, psutil.Process]:
    """The processes of the server by what they are."""
    parent = psutil.Process(server.process.pid)
    found = {"gateway": parent}
    for child in parent.children(recursive=True):
        is_shim = "rest_shim" in " ".join(child.cmdline())
        name = "shim" if is_shim else NAMES.get(child.name(), "other")
        found[name if name not in found else f"{name} {child.pid}"] = child
    return found


def memory_mb(process: psutil.Process) -> float:
    """Its own resident memory."""
    try:
        info = process.memory_info()
    except psutil.NoSuchProcess:
        return 0.0
    return float(info.rss - info.shared) / MB


def at_rest(found: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Their memory when nobody asks and what is not in use has gone back: the least of REST_S, in megabytes."""
    least, ends = {name: memory_mb(process) for name, process in found.items()}, time.monotonic() + REST_S
    while time.monotonic() < ends:
        time.sleep(REST_LOOK_S)
        least = {name: min(least[name], memory_mb(process)) for name, process in found.items()}
    return least


async def attacked(server: Server, report: Report, others: Others, later_s: float) -> Report:
    """Runs one attack in a process of its own, and looks at the server meanwhile and some seconds later."""
    found = processes(server)
    before = {each: memory_mb(process) for each, process in found.items()}
    report.largest_mb = dict(before)
    others.clear()
    words = (sys.executable, "-m", "tests.chaos.attacks", "--attack", report.name)
    where = ("--grpc-port", str(server.grpc_port), "--url", server.url("clip"))
    attack = await asyncio.create_subprocess_exec(*words, *where)
    ending = asyncio.create_task(asyncio.wait_for(attack.wait(), LIMIT_S))
    while not ending.done():
        for each, process in found.items():
            report.largest_mb[each] = max(report.largest_mb[each], memory_mb(process))
        await asyncio.wait((ending,), timeout=LOOK_S)
    if attack.returncode is None:
        attack.kill()
        await attack.wait()
    report.slowest_s, report.failed = others.slowest_s, others.failed
    await asyncio.sleep(later_s - LAST_LOOK_S)
    others.clear()
    await asyncio.sleep(LAST_LOOK_S)
    report.slowest_later_s = others.slowest_s
    report.growth_mb = {each: report.largest_mb[each] - before[each] for each in found}
    report.left_mb = max(memory_mb(process) - before[each] for each, process in found.items())
    report.lost = tuple(each for each, process in found.items() if not process.is_running())
    return report


def attackable(log: Path) -> AbstractContextManager[Server]:
    """A server for attacks, with a key for others."""
    return running(log, "up", *FLAGS, key=f"{KEY},{OTHER_KEY}")


def every_attack() -> dict[str, bool]:
    """The names of all attacks, and whether each has a key."""
    rest = _rest_attacks()
    return {
        **{f"grpc.{name}": False for name in grpc_attacks.WITHOUT_KEY},
        **{f"rest.{name}": False for name in rest[0]},
        **{f"grpc.{name}": True for name in grpc_attacks.WITH_KEY},
        **{f"rest.{name}": True for name in rest[1]},
    }


def _rest_attacks() -> tuple[Mapping[str, object], Mapping[str, object]]:
    if importlib.util.find_spec("tests.chaos.rest_attacks") is None:
        return {}, {}
    found = importlib.import_module("tests.chaos.rest_attacks")
    return found.WITHOUT_KEY, found.WITH_KEY


async def attack(name: str, grpc_port: int, url: str) -> None:
    """Does one attack, in this process."""
    kind, _, short = name.partition(".")
    if kind == "grpc":
        await {**grpc_attacks.WITHOUT_KEY, **grpc_attacks.WITH_KEY}[short](grpc_port, KEY)
    else:
        without, with_key = _rest_attacks()
        await {**without, **with_key}[short](url, KEY)  # type: ignore[operator]  # attacks of rest_attacks


async def all_attacked(server: Server, names: Mapping[str, bool], later_s: float = LATER_S) -> list[Report]:
    """Attack after attack, each told as soon as it is done."""
    others = Others(server)
    asking = asyncio.create_task(others.ask())
    await asyncio.sleep(2)
    reports = []
    kinds = " ".join(f"{name:>8}" for name in sorted(processes(server)))
    print(f"{'attack, growth in MB of':<32}{kinds}  largest  slowest failed  left MB  later s")
    for name, has_key in names.items():
        reports.append(await attacked(server, Report(name, has_key), others, later_s))
        print(reports[-1].line(), others.first_failure, flush=True)
        others.first_failure = ""
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    return reports


def main() -> int:
    """All attacks, or those that are named; 1 where memory was not bounded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="attacks such as grpc.wrong_key; all where none is named")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--grpc-port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.attack:
        asyncio.run(attack(given.attack, given.grpc_port, given.url))
        return 0
    every = every_attack()
    with tempfile.TemporaryDirectory() as folder, attackable(Path(folder) / "server.log") as server:
        reports = asyncio.run(all_attacked(server, {name: every[name] for name in given.names or every}))
    return 0 if all(report.is_bounded for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
