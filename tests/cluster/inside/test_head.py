"""The head of Ray is lost: the gateway ends, and the next one has workers as soon as there is a head again."""

from __future__ import annotations

from pathlib import Path

import pytest
from featsvc_client import FeatsvcClient

from tests.chaos.crowd import PATIENCE_S
from tests.cluster.cluster import Cluster
from tests.servers import KEY, running

FLAGS = ("--profile=demo", "--offline", "--pool=ray", "--cpus-per-worker=1", "--ray-workers=1")


def test_a_gateway_ends_with_the_head_and_the_next_one_works(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray waits for 60 s by default, and then ends the process.
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
    for number in range(2):
        cluster.start(1, cpus=1)
        flags = (f"--ray-address={cluster.address}", *FLAGS)
        with (
            running(tmp_path / f"log {number}", "serve", *flags) as server,
            FeatsvcClient(server.target, api_key=KEY) as client,
        ):
            assert client.encode_text("a red circle").array.shape == (1, 128)
            cluster.kill(1)
            assert server.process.wait(PATIENCE_S) == 1
