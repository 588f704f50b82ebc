"""One worker becomes three and one again by load alone, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from featsvc_client import FeatsvcClient

from tests.chaos.crowd import PATIENCE_S, Crowd, answers, cases
from tests.chaos.deaths import LOOK_S, UP
from tests.cluster.cluster import Cluster
from tests.servers import KEY, running

MOST = 3
FLAGS = (
    "--profile=demo", "--offline", "--pool=ray", "--cpus-per-worker=1", f"--ray-workers=1..{MOST}",
    "--worker-backlog=0.05", "--worker-idle=2",
)  # fmt: skip


def await_workers(client: FeatsvcClient, suits: Callable[[int], bool]) -> int:
    """How many workers there are, all of them up, as soon as their number suits."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        states = [each.state for each in client.status().workers]
        if suits(len(states)) and set(states) <= set(UP):
            return len(states)
        time.sleep(LOOK_S)
    raise TimeoutError(f"there are {states} after {PATIENCE_S:g} s")


def test_the_number_of_workers_follows_the_callers(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start(1, cpus=MOST)
    flags = (f"--ray-address={cluster.address}", *FLAGS)
    with (
        running(tmp_path / "log", "serve", *flags) as server,
        FeatsvcClient(server.target, api_key=KEY) as client,
    ):
        right = answers(server.target, cases())
        await_workers(client, lambda count: count == 1)
        with Crowd(server.target, right, callers=8) as crowd:
            await_workers(client, lambda count: count == MOST)
            crowd.wait_for(50)
        await_workers(client, lambda count: count == 1)
        assert crowd.counts.is_right, crowd.counts
