"""Workers that are killed or stopped, and gateways that are killed, while callers ask: nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pytest
from featsvc_client import FeatsvcClient

from featsvc.v1 import model_pb2
from tests.chaos.crowd import PATIENCE_S, Counts, Crowd, Lines, answers, cases
from tests.chaos.report import Report
from tests.conformance.proxy import nobody_there
from tests.conformance.runners import GO
from tests.servers import KEY, running

FLAGS = ("serve", "--profile=demo", "--offline")
WORKERS = 2
LOOK_S = 0.05
UP = ("ready", "busy")
# A worker that gives no sign of life for so long is replaced; the default leaves time for large models.
HEARTBEAT_S = 3
# Answers between two restarts of the gateway.
BETWEEN = 20
TOLD = 5


def kills(folder: Path, times: int) -> Report:
    """Workers are killed one after the other, each as soon as all are back and what the last one had is answered.

    A question of which two workers die is refused for good, and a kill from outside looks the same.
    """
    counts = _disturbed(folder, times, signal.SIGKILL)
    return _report("kills of a worker", f"{times} of {WORKERS} workers under 4 callers", counts)


def stops(folder: Path, times: int) -> Report:
    """Workers are stopped: they hang without a word, are noticed, and go on or are replaced."""
    counts = _disturbed(folder, times, signal.SIGSTOP)
    return _report("stops of a worker", f"{times} of {WORKERS} workers under 4 callers", counts)


def restarts(folder: Path, times: int) -> Report:
    """The gateway is killed with all that it has and started again on its port, under clients of two languages."""
    flags = (*FLAGS, "--devices=cpu")
    with ExitStack() as servers:
        server = servers.enter_context(running(folder / "log", *flags))
        target, again = server.target, (*flags, f"--grpc-port={server.grpc_port}")
        right = answers(target, cases())
        with Crowd(target, right) as crowd, GoClient(target, right, folder) as other:
            for number in range(times):
                crowd.wait_for(BETWEEN)
                server.process.kill()
                server.process.wait()
                nobody_there(target)
                server = servers.enter_context(running(folder / f"log {number}", *again))
            crowd.wait_for(BETWEEN)
    asked, lost, wrong = (
        getattr(crowd.counts, name) + getattr(other.counts, name) for name in ("asked", "lost", "wrong")
    )
    what = f"{times} under 4 Python callers" + (
        " and one in Go" if other.is_here else "; Go is not here, or its client was never built"
    )
    return _report("restarts of the gateway", what, Counts(asked, lost, wrong))


class GoClient:
    """Asks all cases again and again, in Go, until the block ends."""

    def __init__(self, target: str, right: Lines, folder: Path) -> None:
        self.counts = Counts()
        self.is_here = _is_built()
        self._target, self._right, self._path = target, right, folder / "cases.json"
        self._path.write_text(json.dumps([case.json() for case in cases()]))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        if self.is_here:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self.is_here:
            self._thread.join()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            for line in GO.printed(self._target, self._path, KEY):
                answer = json.loads(line)
                self.counts.take(answer, self._right[answer["name"]])


def _is_built() -> bool:
    try:
        GO.built()
    except pytest.skip.Exception:
        return False
    return True


def _disturbed(folder: Path, times: int, how: signal.Signals) -> Counts:
    """Sends workers a signal, each time as soon as all are up."""
    chance = random.Random(0)
    flags = (*FLAGS, f"--devices=cpu:{WORKERS}", f"--heartbeat-timeout={HEARTBEAT_S}")
    with (
        running(folder / "log", *flags) as server,
        FeatsvcClient(server.target, api_key=KEY) as client,
        Crowd(server.target, answers(server.target, cases())) as crowd,
    ):
        for _ in range(times):
            victim = chance.choice(all_up(client))
            os.kill(victim.pid, how)
            if how == signal.SIGSTOP:
                _await_running(victim.pid)
            else:
                all_up(client, after=victim)
                crowd.wait_for_each()
        crowd.wait_for(BETWEEN)
    return crowd.counts


def all_up(client: FeatsvcClient, after: model_pb2.Worker | None = None) -> list[model_pb2.Worker]:
    """The workers when all of them are up, the one that was lost as another process."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        workers = list(client.status().workers)
        pids = {each.pid for each in workers}
        if all(each.state in UP for each in workers) and (after is None or after.pid not in pids):
            return workers
        time.sleep(LOOK_S)
    raise TimeoutError(f"the workers did not come back within {PATIENCE_S:g} s")


def _await_running(pid: int) -> None:
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_STOPPED:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(LOOK_S)
    raise TimeoutError(f"a stopped worker was not noticed within {PATIENCE_S:g} s")


def _report(name: str, what: str, counts: Counts) -> Report:
    return Report(name, what, counts.is_right, counts.words(), (*counts.lost[:TOLD], *counts.wrong[:TOLD]))
