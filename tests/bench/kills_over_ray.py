"""What kills cost callers: `python -m tests.bench.kills_over_ray`; `--help` shows its flags.

Three nodes of Ray on this machine, in a network of their own, with a worker of the demo models each. Callers ask the
questions of the conformance kit, once undisturbed, and once while an actor is killed every few seconds, where another
takes work, and one node is killed and comes back. Then they click on pictures that the workers know, and a node is
killed again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from featsvc_client import FeatsvcClient

from featsvc.pool.scheduling.deaths import QUEUED_AGAIN
from tests.chaos.crowd import Crowd, Lines, answers, cases
from tests.chaos.deaths import UP, all_up
from tests.cluster.cluster import Cluster, ran_alone
from tests.e2e.conftest import png
from tests.servers import KEY, Server, running

NODES = (1, 2, 3)
VICTIM = 3
"""The node that is killed: the gateway is on the first."""
FLAGS = ("--profile=demo", "--offline", "--pool=ray", "--cpus-per-worker=1", f"--ray-workers={len(NODES)}")
NODE_DIES, NODE_COMES = 2, 4
"""Which of the kills is the node's, and with which it is started again."""
PICTURES, CLICKERS = 12, 4
PIXELS = np.random.default_rng(0).integers(0, 256, (PICTURES, 48, 64, 3), dtype=np.uint8)
WARM_S = 3.0
STEP = 100
LOOK_S = 0.25
WINDOWS = 3
"""Parts of the seconds of clicks that are told apart."""
TOLD = 5


def main() -> int:
    """Prints two tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kills_over_ray", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each run")
    parser.add_argument("--clients", type=int, default=16, help="at once")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills")
    parser.add_argument("--clicks", type=float, default=30.0, help="seconds of clicks after a node's death")
    asked = parser.parse_args()
    if (status := ran_alone("tests.bench.kills_over_ray")) is not None:
        return status
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        os.environ.update(cluster.environment)
        for node in NODES:
            cluster.start(node, cpus=1)
        log = Path(folder) / "log"
        with running(log, "serve", f"--ray-address={cluster.address}", *FLAGS) as server:
            is_right = _questions(server, cluster, asked)
            _clicks(server, cluster, asked.clicks)
    return 0 if is_right else 1


def _questions(server: Server, cluster: Cluster, asked: argparse.Namespace) -> bool:
    print(
        "| run | answers | lost | wrong | kills | queued again | median | p99 |\n|---|---|---|---|---|---|---|---|"
    )
    with FeatsvcClient(server.target, api_key=KEY) as client:
        all_up(client)
        right = answers(server.target, cases())
        is_right = _run("undisturbed", server, right, asked)
        kills = Kills(client, cluster, asked.every)
        with kills.at_work():
            is_right &= _run("with kills", server, right, asked, lambda: kills.count)
        all_up(client)
    return is_right


def _run(
    name: str, server: Server, right: Lines, asked: argparse.Namespace, kills: Callable[[], int] = int
) -> bool:
    before = _queued_again(server)
    with Crowd(server.target, right, callers=asked.clients) as crowd:
        for _ in range(0, asked.requests, STEP):
            crowd.wait_for(STEP)
        count = kills()
    counts, again = crowd.counts, _queued_again(server) - before
    median, p99 = statistics.median(counts.seconds), statistics.quantiles(counts.seconds, n=100)[-1]
    numbers = counts.asked, len(counts.lost), len(counts.wrong), count, again
    print(f"| {name} | {' | '.join(map(str, numbers))} | {median:.2f} s | {p99:.2f} s |", flush=True)
    for line in (*counts.lost[:TOLD], *counts.wrong[:TOLD]):
        print(f"  {line}")
    return counts.is_right


class Kills:
    """An actor every few seconds; in place of one of them a node, which comes back."""

    def __init__(self, client: FeatsvcClient, cluster: Cluster, every_s: float) -> None:
        self._client = client
        self._cluster = cluster
        self._every_s = every_s
        self._is_over = threading.Event()
        self._back = threading.Thread(target=cluster.start, args=(VICTIM, 1), daemon=True)
        self.count = 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Until the block ends; the node is back then, if it was killed."""
        thread = threading.Thread(target=self._kill_all, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _kill_all(self) -> None:
        chance = random.Random(0)
        for number in itertools.count(1):
            if self._is_over.wait(self._every_s):
                break
            if number == NODE_DIES:
                self._cluster.kill(VICTIM)
                self.count += 1
                continue
            if number == NODE_COMES:
                self._back.start()
            self._kill_one(chance)
        if NODE_DIES < number <= NODE_COMES:
            self._back.start()
        if number > NODE_DIES:
            self._back.join()

    def _kill_one(self, chance: random.Random) -> None:
        pids = [each.pid for each in self._client.status().workers if each.state in UP]
        # Kills that come faster than actors start would leave nobody to work.
        if len(pids) > 1:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
                self.count += 1


def _queued_again(server: Server) -> int:
    """Items that were in flight at a worker that died, and were tried again, so far."""
    lines = (json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{"))
    return sum(line["items"] for line in lines if line["message"] == QUEUED_AGAIN)


def _clicks(server: Server, cluster: Cluster, seconds: float) -> None:
    shown = [png(each) for each in PIXELS]
    numbers = itertools.count()

    def click_until(ends: float) -> None:
        while time.monotonic() < ends:
            picture = shown[next(numbers) % PICTURES]
            client.predict_masks(picture, point_coords=[[20, 20]], point_labels=[1])

    print("\n| clicks | answers | by the worker that knows the picture |\n|---|---|---|")
    with FeatsvcClient(server.target, api_key=KEY) as client, ThreadPoolExecutor(CLICKERS) as callers:
        all_up(client)
        found = Found(client)
        list(callers.map(click_until, [time.monotonic() + WARM_S] * CLICKERS))
        found.look()
        for window in range(WINDOWS + 1):
            if window == 1:
                cluster.kill(VICTIM)
            ends = time.monotonic() + seconds / WINDOWS
            clicking = [callers.submit(click_until, ends) for _ in range(CLICKERS)]
            hits, misses = found.until_done(clicking)
            name = (
                "before"
                if window == 0
                else f"{seconds * (window - 1) / WINDOWS:g} to {seconds * window / WINDOWS:g} s after a node died"
            )
            print(f"| {name} | {hits + misses} | {hits / (hits + misses):.2%} |", flush=True)
        cluster.start(VICTIM, cpus=1)


class Found:
    """How many clicks found the embedding of their picture, and how many had to make it, also at workers that died."""

    def __init__(self, client: FeatsvcClient) -> None:
        self._client = client
        self._seen: dict[int, tuple[int, int]] = {}

    def look(self) -> tuple[int, int]:
        """Hits and misses since the last look."""
        hits = misses = 0
        for worker in self._client.status().workers:
            for cache in worker.caches:
                if cache.name == "sam2_embeddings":
                    before = self._seen.get(worker.pid, (0, 0))
                    self._seen[worker.pid] = cache.hits, cache.misses
                    hits, misses = hits + cache.hits - before[0], misses + cache.misses - before[1]
        return hits, misses

    def until_done(self, clicking: Sequence[Future[None]]) -> tuple[int, int]:
        """The same until all of these have ended, looking often, for a worker that dies says no more."""
        hits = misses = 0
        is_done = False
        while not is_done:
            is_done = not wait(clicking, LOOK_S).not_done
            looked = self.look()
            hits, misses = hits + looked[0], misses + looked[1]
        for each in clicking:
            each.result()
        return hits, misses


if __name__ == "__main__":
    sys.exit(main())
