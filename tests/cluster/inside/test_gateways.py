"""Two gateways over one cluster: each has its own workers, and one goes on when the other is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from featsvc_client import FeatsvcClient

from tests.chaos.crowd import Crowd, answers, cases
from tests.chaos.deaths import all_up
from tests.cluster.cluster import Cluster
from tests.servers import KEY, Server, running

FLAGS = ("--profile=demo", "--offline", "--pool=ray", "--cpus-per-worker=1", "--ray-workers=1")
BETWEEN = 30


@pytest.fixture
def gateways(cluster: Cluster, tmp_path: Path) -> Iterator[list[Server]]:
    for node in (1, 2):
        cluster.start(node, cpus=1)
    with ExitStack() as servers:
        yield [
            servers.enter_context(
                running(tmp_path / f"log {number}", "serve", f"--ray-address={cluster.address}", *FLAGS)
            )
            for number in range(2)
        ]


def pids(client: FeatsvcClient) -> set[int]:
    """The processes of a gateway's workers, when all are up."""
    return {each.pid for each in all_up(client)}


def test_each_has_its_own_workers_and_one_outlives_the_other(gateways: list[Server]) -> None:
    first, second = gateways
    right = answers(first.target, cases())
    with (
        FeatsvcClient(first.target, api_key=KEY) as one,
        FeatsvcClient(second.target, api_key=KEY) as other,
    ):
        theirs = pids(other)
        assert not pids(one) & theirs
        with Crowd(second.target, right, callers=2) as staying:
            with Crowd(first.target, right, callers=2) as leaving:
                leaving.wait_for(BETWEEN)
                staying.wait_for(BETWEEN)
            first.process.kill()
            first.process.wait()
            staying.wait_for(BETWEEN)
        assert leaving.counts.is_right, leaving.counts
        assert staying.counts.is_right, staying.counts
        assert pids(other) == theirs, "its workers went on"
