"""Actors and machines are killed under callers: nothing is lost, nothing is wrong, and clicks find their picture."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from featsvc_client import FeatsvcClient

from tests.chaos.crowd import Crowd, answers, cases
from tests.chaos.deaths import all_up
from tests.cluster.cluster import Cluster
from tests.e2e.conftest import png
from tests.servers import KEY, Server, running

NODES = (1, 2, 3)
WORKERS = 3
KILLS = 3
BETWEEN = 30
PICTURES = 12
CLICKS = 240
HEARTBEAT_S = 10
"""A worker that gives no sign of life for so long is replaced."""
FLAGS = (
    "--profile=demo", "--offline", "--pool=ray", "--cpus-per-worker=1", f"--ray-workers={WORKERS}",
    f"--heartbeat-timeout={HEARTBEAT_S}",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway over three nodes with room for one worker each."""
    for node in NODES:
        cluster.start(node, cpus=1)
    log = tmp_path_factory.mktemp("server") / "log"
    with running(log, "serve", f"--ray-address={cluster.address}", *FLAGS) as server:
        yield server


def embeddings(client: FeatsvcClient) -> tuple[int, int]:
    """How many questions found the embedding of their picture, and how many had to make it, at all workers."""
    caches = [
        cache
        for worker in client.status().workers
        for cache in worker.caches
        if cache.name == "sam2_embeddings"
    ]
    return sum(each.hits for each in caches), sum(each.misses for each in caches)


def pictures(count: int) -> list[bytes]:
    """Small ones that differ."""
    drawn = np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)
    return [png(each) for each in drawn]


def test_repeat_clicks_reach_the_worker_that_knows_the_picture(server: Server) -> None:
    shown = pictures(PICTURES)

    def click(number: int) -> None:
        client.predict_masks(shown[number % PICTURES], point_coords=[[20, 20]], point_labels=[1])

    with FeatsvcClient(server.target, api_key=KEY) as client, ThreadPoolExecutor(4) as callers:
        all_up(client)
        before = embeddings(client)
        list(callers.map(click, range(PICTURES)))
        made = embeddings(client)
        assert made[1] - before[1] == PICTURES
        list(callers.map(click, range(CLICKS)))
        hits, misses = (now - then for now, then in zip(embeddings(client), made, strict=True))
    assert hits + misses == CLICKS
    assert hits >= 0.99 * CLICKS


def test_kills_of_actors_and_of_a_machine_lose_and_change_nothing(server: Server, cluster: Cluster) -> None:
    chance = random.Random(0)
    with FeatsvcClient(server.target, api_key=KEY) as client:
        all_up(client)
        with Crowd(server.target, answers(server.target, cases()), callers=8) as crowd:
            for _ in range(KILLS):
                crowd.wait_for(BETWEEN)
                victim = chance.choice(all_up(client))
                os.kill(victim.pid, signal.SIGKILL)
                all_up(client, after=victim)
            crowd.wait_for(BETWEEN)
            cluster.kill(3)
            crowd.wait_for(BETWEEN)
            cluster.start(3, cpus=1)
            all_up(client)
            crowd.wait_for(BETWEEN)
        assert crowd.counts.is_right, crowd.counts
        machines = sorted(each.machine for each in all_up(client))
    assert machines == [f"127.0.0.{node}" for node in NODES]


def test_an_actor_that_hangs_is_replaced_and_nothing_is_lost(server: Server) -> None:
    with FeatsvcClient(server.target, api_key=KEY) as client:
        victim = all_up(client)[-1]
        with Crowd(server.target, answers(server.target, cases()), callers=4) as crowd:
            crowd.wait_for(BETWEEN)
            os.kill(victim.pid, signal.SIGSTOP)
            all_up(client, after=victim)
            crowd.wait_for(BETWEEN)
        assert crowd.counts.is_right, crowd.counts
