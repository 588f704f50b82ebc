"""A Ray that `featsvc up` starts by itself answers the same bytes as local workers."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import psutil
import pytest
from featsvc_client.conformance.judging import exact_differences

from tests.chaos.crowd import answers, cases
from tests.cluster.cluster import Cluster
from tests.servers import KEY, ROOT, Server, running

FLAGS = ("--profile=demo", "--offline", "--threads=1")
OVER_RAY = ("--pool=ray", "--ray-workers=1..2", "--cpus-per-worker=0.5")
SCENE = base64.b64encode((ROOT / "docs" / "scene.jpg").read_bytes()).decode()
REST: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("clip", "encode_text", {"text": ["a red cube", "a cat"]}),
    ("dino", "extract", {"image": SCENE}),
    ("sam2", "auto_mask", {"image": SCENE, "points_per_side": 4}),
)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("local") / "log", "up", "--devices=cpu", *FLAGS) as server:
        yield server


@pytest.fixture(scope="module")
def over_ray(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("ray") / "log", "up", *OVER_RAY, *FLAGS) as server:
        yield server


def test_every_operation_answers_the_same_bytes(local: Server, over_ray: Server) -> None:
    asked = cases()
    right = answers(local.target, asked)
    found = answers(over_ray.target, asked)
    assert len(right) > 80
    wrong = {name: exact_differences(found[name], line) for name, line in right.items()}
    assert {name: words for name, words in wrong.items() if words} == {}


def test_its_processes_have_no_keys_and_only_this_machine_reaches_them(over_ray: Server) -> None:
    gateway = psutil.Process(over_ray.process.pid)
    ours = [each for each in gateway.children(recursive=True) if each.name().startswith(("ray", "gcs"))]
    assert {"gcs_server", "raylet"} <= {each.name() for each in ours}
    assert [each.name() for each in ours if any(KEY in text for text in each.environ().values())] == []
    listening = [
        found.laddr.ip
        for each in ours
        for found in each.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(("family", "path", "body"), REST, ids=[path for _, path, _ in REST])
def test_rest_answers_the_same(
    local: Server, over_ray: Server, family: str, path: str, body: dict[str, object]
) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    replies = [
        httpx.post(f"{server.url(family)}/{path}", json=body, headers=key, timeout=60)
        for server in (local, over_ray)
    ]
    assert [each.status_code for each in replies] == [200, 200], replies[1].text[:300]
    assert replies[0].content == replies[1].content
