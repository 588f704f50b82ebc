"""GET /health shows the gateway in the documented fields."""

from __future__ import annotations

import json
import logging

import pytest

from featsvc.logs import JsonLines
from featsvc.v1 import model_pb2
from tests.rest.fake_gateway import FakeGateway, fake_gateway
from tests.rest.shim import Shim, shim, until_asked

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_health_has_the_documented_fields_of_its_own_family(ports: Shim, gateway: FakeGateway) -> None:
    body = (await ports.client.get(ports.url("clip", "/health"))).json()
    assert isinstance(body.pop("request_counter"), int)
    assert body == {
        "status": "healthy",
        "device": "cuda:1",
        "worker_id": 7,
        "gpu_id": 1,
        "gpu_count": 4,
        "models_loaded": ["clip_ViT-B-16_openai"],
        "total_model_instances": 2,
    }
    sam2 = (await ports.client.get(ports.url("sam2", "/health"))).json()
    assert (sam2["models_loaded"], sam2["total_model_instances"]) == ([], 0)


async def test_models_are_told_by_their_family_and_not_by_how_they_are_called(
    ports: Shim, gateway: FakeGateway
) -> None:
    worker = model_pb2.Worker(pid=7, device="cpu", state="ready")
    for number, name in enumerate(("dino_in_disguise", "clip_in_disguise", "sam2.1_hiera_large"), 1):
        worker.models.add(names=[name], family=number)
    gateway.replies["ModelService/GetStatus"] = model_pb2.GetStatusResponse(workers=[worker])
    for family, name in (
        ("clip", "dino_in_disguise"),
        ("dino", "clip_in_disguise"),
        ("sam2", "sam2.1_hiera_large"),
    ):
        body = (await ports.client.get(ports.url(family, "/health"))).json()
        assert body["models_loaded"] == [name]


async def test_the_counter_counts_the_requests_of_its_port(gateway: FakeGateway) -> None:
    async with fake_gateway() as fake, shim(fake.target) as ports:
        for _ in range(3):
            await ports.post("clip", "/encode_text", {"text": "a"})
        counted = {
            family: (await ports.client.get(ports.url(family, "/health"))).json()["request_counter"]
            for family in ("clip", "dino")
        }
    assert counted == {"clip": 3, "dino": 0}


@pytest.mark.parametrize("state", ["starting", "dead", "failed"])
async def test_no_live_worker_is_unhealthy(ports: Shim, gateway: FakeGateway, state: str) -> None:
    worker = model_pb2.Worker(pid=1, device="cpu", state=state)
    gateway.replies["ModelService/GetStatus"] = model_pb2.GetStatusResponse(workers=[worker])
    response = await ports.client.get(ports.url("clip", "/health"))
    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"


async def test_each_gpu_of_a_live_worker_is_told_once(ports: Shim, gateway: FakeGateway) -> None:
    workers = [
        model_pb2.Worker(
            device=device,
            state=state,
            gpu=model_pb2.Gpu(name="a GPU", uuid=device[-1], size_bytes=1000, free_bytes=400, **used),
        )
        for device, state, used in (
            ("cuda:0", "ready", {}),
            ("cuda:0", "busy", {}),
            ("cuda:1", "busy", {"utilization_percent": 0}),
            ("cuda:2", "dead", {}),
        )
    ]
    gateway.replies["ModelService/GetStatus"] = model_pb2.GetStatusResponse(workers=workers)
    body = (await ports.client.get(ports.url("clip", "/health"))).json()
    told = {"name": "a GPU", "memory_bytes": 1000, "free_bytes": 400}
    assert body["gpus"] == [
        {**told, "device": "cuda:0", "uuid": "0", "utilization_percent": None},
        {**told, "device": "cuda:1", "uuid": "1", "utilization_percent": 0},
    ]


@pytest.mark.parametrize(
    "known", [("uuid", ["1", "2", "1"]), ("machine", ["one", "two", "one"])], ids=lambda known: known[0]
)
async def test_gpus_of_several_machines_are_told_though_all_are_called_alike(
    ports: Shim, gateway: FakeGateway, known: tuple[str, list[str]]
) -> None:
    name, values = known
    workers = [
        model_pb2.Worker(device="cuda:0", state="ready", gpu=model_pb2.Gpu(name="a GPU")) for _ in values
    ]
    for worker, value in zip(workers, values, strict=True):
        setattr(worker.gpu if name == "uuid" else worker, name, value)
    gateway.replies["ModelService/GetStatus"] = model_pb2.GetStatusResponse(workers=workers)
    gpus = (await ports.client.get(ports.url("clip", "/health"))).json()["gpus"]
    assert [each["uuid"] for each in gpus] == (["1", "2"] if name == "uuid" else ["", ""])


async def test_a_cpu_has_no_gpu_number(ports: Shim, gateway: FakeGateway) -> None:
    worker = model_pb2.Worker(pid=1, device="cpu", state="busy")
    gateway.replies["ModelService/GetStatus"] = model_pb2.GetStatusResponse(workers=[worker])
    body = (await ports.client.get(ports.url("clip", "/health"))).json()
    assert (body["status"], body["device"], body["gpu_id"], body["gpu_count"]) == ("healthy", "cpu", None, 0)


async def test_an_unreachable_gateway_is_unhealthy_in_the_same_fields() -> None:
    async with fake_gateway() as fake:
        pass
    async with shim(fake.target) as ports:
        response = await ports.client.get(ports.url("clip", "/health"))
    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"
    assert response.json().keys() >= {"device", "worker_id", "gpu_id", "gpu_count", "models_loaded"}


@pytest.mark.parametrize("known", [True, False])
async def test_a_gateway_that_takes_no_more_calls_is_busy_and_not_broken(known: bool) -> None:
    async with fake_gateway(max_calls=1) as fake, shim(fake.target) as ports:
        if known:
            await ports.client.get(ports.url("clip", "/health"))
        asked, _ = fake.wait("ClipService/ExtractFeatures")
        waiting = await until_asked(ports, asked)
        response = await ports.client.get(ports.url("clip", "/health"))
        assert (response.status_code, response.json()["status"]) == (200, "healthy")
        assert response.json()["device"] == ("cuda:1" if known else None)
        assert not waiting.done()
        waiting.cancel()


async def test_health_checks_below_a_proxys_prefix_are_no_news_either(
    gateway: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with shim(gateway.target, root_path="/tools") as ports:
        with caplog.at_level(logging.DEBUG, "rest_shim.requests"):
            for path in ("/tools/health", "/tools/readyz"):
                response = await ports.client.get(ports.url("clip", path))
                assert response.status_code == 200
        assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
        assert (await ports.client.get(ports.url("clip", "/tools/health"))).json()["request_counter"] == 0


async def test_health_checks_are_no_news(ports: Shim, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(JsonLines())
    with caplog.at_level(logging.DEBUG, "rest_shim.requests"):
        await ports.client.get(ports.url("clip", "/health"))
        await ports.client.get(ports.url("clip", "/docs"), headers={"X-Request-Id": "told"})
    health, docs = map(json.loads, caplog.text.splitlines())
    assert (health["level"], health["path"]) == ("debug", "/health")
    assert (docs["level"], docs["path"], docs["status"], docs["request_id"]) == (
        "info",
        "/docs",
        200,
        "told",
    )
