"""Keys of a server as it is started: no worker and no command line has one, and REST says what each may."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, errors

from tests.server.keys.bearers import entries
from tests.servers import FREE_PORTS, FREE_REST_PORTS, ROOT, Server, started

SECRET = "a-secret-of-the-tests"
CLIP_ALONE = 'models = ["demo-clip"]\nweight = 2'


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.write_text(entries(clip_alone=CLIP_ALONE, leaver=""))
    return path


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[Server]:
    """A server with a key of its owner, which an environment has, and a file of others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
    words = [sys.executable, "-m", "featsvc", "up", "--profile=demo", "--devices=cpu", "--preload=demo-clip"]
    words += ["--log-level=error", *FREE_PORTS, *FREE_REST_PORTS, f"--api-key-file={file}"]
    with started(words, ROOT, {**environment, "FEATSVC_API_KEY": SECRET}, file.with_name("log")) as running:
        yield running


def asked(server: Server, family: str, path: str, key: str, request_id: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": request_id}
    return httpx.post(server.url(family) + path, json={"text": "a"}, headers=headers, timeout=60)


def test_no_worker_and_no_command_line_has_a_key(server: Server) -> None:
    gateway = psutil.Process(server.process.pid)
    assert gateway.environ()["FEATSVC_API_KEY"] == SECRET
    family = gateway.children(recursive=True)
    for child in family:
        assert SECRET not in " ".join(child.cmdline())
        assert SECRET not in child.environ().values(), "the shim has a key of its own, and workers none"
    (worker,) = server.workers
    for process in (worker, worker.parent()):
        assert not any(name.startswith("FEATSVC_") for name in process.environ())
    (shim,) = (child for child in family if "rest_shim.serve" in child.cmdline())
    status_key = shim.environ()["FEATSVC_STATUS_KEY"]
    assert len(status_key) > 40
    assert not any(status_key in " ".join(child.cmdline()) for child in (gateway, *family))
    with FeatsvcClient(server.target, api_key=status_key) as client:
        assert client.caller().roles == ["status"]
        with pytest.raises(errors.NotAllowed, match="role infer"):
            client.encode_text("a")


def test_health_shows_models_without_a_key_and_no_process(server: Server) -> None:
    body = httpx.get(server.url("clip") + "/health").json()
    assert body["models_loaded"] == ["clip_demo-clip_demo"]
    assert (body["device"], body["worker_id"]) == ("cpu", 0)


def test_a_key_must_be_allowed_every_model_that_answers(server: Server, picture: bytes) -> None:
    boxes = [[5, 5, 60, 70]]
    with FeatsvcClient(server.target, api_key="clip_alone") as client:
        assert len(client.describe_objects(picture, boxes=boxes)) == 1
        with pytest.raises(errors.NotAllowed, match="may not use the model demo-sam2"):
            client.describe_objects(picture)
        with pytest.raises(errors.NotAllowed, match="may not use the model demo-dino"):
            client.describe_objects(picture, boxes=boxes, describe=[{"dino": {}, "pooled": {}}])
        with pytest.raises(errors.NotAllowed, match="may not use the model demo-dino"):
            client.clip_features(picture, dense_recipe="proxyclip", proxy_model="demo-dino")


def test_rest_says_what_a_key_may(server: Server, picture: bytes) -> None:
    assert asked(server, "clip", "/encode_text", "clip_alone").status_code == 200
    answer = httpx.post(
        server.url("dino") + "/extract",
        json={"image_url": "http://192.0.2.7/a.png"},
        headers={"Authorization": "Bearer clip_alone"},
    )
    assert answer.status_code == 403
    assert "may not use the model demo-dino" in answer.json()["detail"]
    with (
        FeatsvcClient(server.target, api_key="clip_alone") as client,
        pytest.raises(errors.NotAllowed, match="may not use"),
    ):
        client.dino_features(picture)


async def test_clients_are_told_who_they_are(server: Server) -> None:
    with FeatsvcClient(server.target, api_key="clip_alone") as client:
        told = client.caller()
    async with AsyncFeatsvcClient(server.target, api_key="clip_alone") as client:
        assert await client.caller() == told
    assert (told.name, told.models, told.limits.weight) == ("clip_alone", ["demo-clip"], 2)


def audited(file: Path, message: str) -> dict[str, Any]:  # Any: as JSON has it
    """The line of the audit log that says this, at a server that otherwise logs errors alone."""
    # A thread writes the log.
    while f'"{message}"' not in (log := file.with_name("log").read_text()):
        pass
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (found,) = (line for line in told if line["message"] == message)
    assert found["logger"] == "featsvc.audit"
    assert {line["level"] for line in told if line["logger"] != "featsvc.audit"} <= {"error"}
    assert "wrong-key" not in log
    return found


def test_a_wrong_key_over_rest_is_laid_to_its_sender(server: Server, file: Path) -> None:
    assert asked(server, "clip", "/encode_text", "wrong-key", "of-the-wrong").status_code == 401
    told = audited(file, "wrong key")
    assert (told["level"], told["address"], told["request_id"]) == ("warning", "127.0.0.1", "of-the-wrong")


def test_an_act_of_an_admin_has_its_line_at_every_level(server: Server, file: Path) -> None:
    with FeatsvcClient(server.target, api_key=SECRET) as client:
        client.load_model("demo-clip")
    told = audited(file, "admin act")
    assert (told["level"], told["caller"], told["model"]) == ("info", "key 0", "demo-clip")
    assert told["request_id"]


def test_a_key_that_is_taken_out_is_refused_over_rest_too(server: Server, file: Path) -> None:
    assert asked(server, "clip", "/encode_text", "leaver").status_code == 200
    new = file.with_suffix(".new")
    new.write_text(entries(clip_alone=CLIP_ALONE))
    os.replace(new, file)
    while asked(server, "clip", "/encode_text", "leaver").status_code == 200:
        assert asked(server, "clip", "/encode_text", "clip_alone").status_code == 200
    assert asked(server, "clip", "/encode_text", "leaver").status_code == 401
    assert audited(file, "keys changed")["taken_out"] == ["leaver"]
