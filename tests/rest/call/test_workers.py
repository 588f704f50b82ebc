"""What callers are told of the gateway's workers, and how long they wait for them."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2

from featsvc.codec.priority import HEADER
from featsvc.v1 import model_pb2
from tests.rest.fake_gateway import FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
EXTRACT = "ClipService/ExtractFeatures"


async def test_a_request_that_ended_two_workers_is_told_so(ports: Shim, gateway: FakeGateway) -> None:
    gateway.fail(EXTRACT, grpc.StatusCode.INTERNAL, "two died", ("featsvc-reason", "killed-workers"))
    response = await ports.post("clip", "/extract", {"image": PICTURE})
    assert (response.status_code, response.json()) == (500, {"detail": "two died"})


async def test_a_caller_may_say_how_long_it_waits(ports: Shim, gateway: FakeGateway) -> None:
    asked, gone = gateway.wait(EXTRACT)
    response = await ports.post("clip", "/extract", {"image": PICTURE}, X_Request_Timeout="0.2")
    assert response.status_code == 504
    assert "X-Request-Timeout" in response.json()["detail"]
    assert "load_size" in response.json()["detail"]
    assert asked.is_set()
    await gone.wait()
    document = (await ports.client.get(ports.url("clip", "/openapi.json"))).json()
    parameters = document["paths"]["/extract"]["post"]["parameters"]
    assert [each["name"] for each in parameters if each["in"] == "header"] == [
        "X-Request-Timeout",
        "X-Request-Priority",
    ]


async def test_a_caller_may_say_how_urgent_a_request_is(ports: Shim, gateway: FakeGateway) -> None:
    for said, sent in (({}, None), ({"X_Request_Priority": "-3"}, "-3")):
        gateway.metadata.clear()
        assert (await ports.post("clip", "/extract", {"image": PICTURE}, **said)).status_code == 200
        assert [each.get(HEADER) for each in gateway.metadata] == [sent]


@pytest.mark.parametrize("given", ["", "10", "1.5", "high"])
async def test_a_priority_that_is_none_is_told_by_the_name_of_the_header(
    ports: Shim, gateway: FakeGateway, given: str
) -> None:
    response = await ports.post("clip", "/extract", {"image": PICTURE}, X_Request_Priority=given)
    assert response.status_code == 422
    (detail,) = response.json()["detail"]
    assert detail["loc"] == ["header", "X-Request-Priority"]
    assert "from -9 to 9" in detail["msg"]
    assert gateway.requests == []


async def test_a_callers_time_replaces_the_shims_own_in_both_directions(gateway: FakeGateway) -> None:
    left: list[float] = []

    async def answer(request: object, context: grpc.aio.ServicerContext) -> object:
        left.append(context.time_remaining())
        return gateway.replies[EXTRACT]

    gateway.answers[EXTRACT] = answer  # type: ignore[assignment]
    async with shim(gateway.target, request_timeout=50) as ports:
        for headers in ({}, {"X_Request_Timeout": "900"}):
            assert (await ports.post("clip", "/extract", {"image": PICTURE}, **headers)).status_code == 200
    assert 20 < left[0] < 60
    assert 800 < left[1] < 910


@pytest.mark.parametrize("given", ["", "0", "-1", "soon", "1e3", "nan", "0.0", "5s"])
async def test_a_time_that_is_none_is_told_by_the_name_of_the_header(
    ports: Shim, gateway: FakeGateway, given: str
) -> None:
    response = await ports.post("clip", "/extract", {"image": PICTURE}, X_Request_Timeout=given)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["header", "X-Request-Timeout"]
    assert "120 or 0.5" in response.json()["detail"][0]["msg"]


@pytest.mark.parametrize("given", ["31536001", "9999999999", "9" * 400])
async def test_a_time_that_is_too_long_is_told_as_such(ports: Shim, gateway: FakeGateway, given: str) -> None:
    response = await ports.post("clip", "/extract", {"image": PICTURE}, X_Request_Timeout=given)
    assert response.status_code == 422
    assert response.json()["detail"][0]["msg"] == f"{given[:32]} seconds, at most 31536000 (a year)"


async def test_readyz_says_whether_this_port_should_get_requests(ports: Shim, gateway: FakeGateway) -> None:
    response = await ports.client.get(ports.url("clip", "/readyz"))
    assert (response.status_code, response.json()) == (200, {"status": "ready"})

    async def of_dino_alone(request: health_pb2.HealthCheckRequest, context: object) -> object:
        status = "NOT_SERVING" if request.service == "featsvc.v1.DinoService" else "SERVING"
        return health_pb2.HealthCheckResponse(status=status)

    gateway.answers["Health/Check"] = of_dino_alone  # type: ignore[assignment]
    assert (await ports.client.get(ports.url("clip", "/readyz"))).status_code == 200
    response = await ports.client.get(ports.url("dino", "/readyz"))
    assert response.status_code == 503
    assert "no worker is up" in response.json()["detail"]
    worker = model_pb2.Worker(state="ready")
    worker.failed_models.add(key="demo-dino", reason="its file is gone", family=model_pb2.FAMILY_DINO)
    gateway.replies["ModelService/GetStatus"] = model_pb2.GetStatusResponse(workers=[worker])
    response = await ports.client.get(ports.url("dino", "/readyz"))
    assert response.json() == {"detail": "demo-dino cannot be loaded: its file is gone"}
    health = (await ports.client.get(ports.url("dino", "/health"))).json()
    assert health["problems"] == ["demo-dino cannot be loaded: its file is gone"]
    assert "problems" not in (await ports.client.get(ports.url("clip", "/health"))).json()


async def test_readyz_tells_of_a_gateway_that_is_gone() -> None:
    async with fake_gateway() as fake:
        target = fake.target
    async with shim(target) as ports:
        response = await asyncio.wait_for(ports.client.get(ports.url("sam2", "/readyz")), 60)
        assert response.status_code == 503
        assert "cannot be reached" in response.json()["detail"]
