"""Keys, health, and what the server tells about itself."""

from __future__ import annotations

import grpc
import httpx
import pytest
from featsvc_client import FeatsvcClient, errors
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.e2e.transports import Rest
from tests.servers import KEY, Server

FAMILIES = ("clip", "dino", "sam2")
SERVICES = ("featsvc.v1.ClipService", "featsvc.v1.DinoService", "featsvc.v1.Sam2Service")
QUESTIONS = {
    "clip": ("encode_text", {"text": "a"}),
    "dino": ("dino_features", {}),
    "sam2": ("prompt_masks", {}),
}
ENDPOINTS = {
    "clip": {"/extract", "/encode_text", "/similarity", "/health"},
    "dino": {"/extract", "/health"},
    "sam2": {"/auto_mask", "/prompt_mask", "/health"},
}


@pytest.mark.parametrize("key", ["", "wrong", "smfeats", KEY + "!"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rest_refuses_other_keys(demo_server: Server, picture: bytes, family: str, key: str) -> None:
    operation, params = QUESTIONS[family]
    with pytest.raises(errors.AuthenticationError):
        Rest(demo_server, key).ask(operation, picture, params)


@pytest.mark.parametrize("headers", [{}, {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}], ids=str)
def test_rest_answers_401_with_a_detail_where_there_is_no_bearer(
    demo_server: Server, headers: dict[str, str]
) -> None:
    answer = httpx.post(demo_server.url("clip") + "/encode_text", json={"text": "a"}, headers=headers)
    assert answer.status_code == 401
    assert answer.json().keys() == {"detail"}
    assert KEY not in answer.text


@pytest.mark.parametrize("key", ["", "wrong", "smfeats"])
def test_grpc_refuses_other_keys(demo_server: Server, picture: bytes, key: str) -> None:
    with FeatsvcClient(demo_server.target, api_key=key) as client:
        for ask in (lambda: client.encode_text("a"), lambda: client.dino_features(picture), client.models):
            with pytest.raises(errors.AuthenticationError):
                ask()


@pytest.mark.parametrize("family", FAMILIES)
def test_health_needs_no_key_and_has_the_documented_fields(demo_server: Server, family: str) -> None:
    answer = httpx.get(demo_server.url(family) + "/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "healthy"
    assert body.keys() >= {
        "status",
        "device",
        "worker_id",
        "gpu_id",
        "gpu_count",
        "models_loaded",
        "total_model_instances",
        "request_counter",
    }
    assert isinstance(body["models_loaded"], list)


@pytest.mark.parametrize("family", FAMILIES)
def test_docs_are_open_and_list_the_documented_endpoints(demo_server: Server, family: str) -> None:
    assert httpx.get(demo_server.url(family) + "/docs").status_code == 200
    paths = httpx.get(demo_server.url(family) + "/openapi.json").json()["paths"]
    assert paths.keys() >= ENDPOINTS[family]


def test_grpc_tells_its_health_and_its_services_without_a_key(demo_server: Server) -> None:
    with grpc.insecure_channel(demo_server.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in SERVICES:
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked, timeout=10)
    listed = {service.name for service in answer.list_services_response.service}
    assert listed >= {*SERVICES, "featsvc.v1.ModelService"}


def test_the_catalog_has_the_demo_models_and_those_of_their_publishers(demo_server: Server) -> None:
    with FeatsvcClient(demo_server.target, api_key=KEY) as client:
        models = {model.key: model for model in client.models()}
        available = {model.key for model in client.models(available_only=True)}
        assert {model.key for model in client.models("dino")} < models.keys()
    assert {"demo-clip", "demo-dino", "demo-sam2"} <= available <= models.keys()
    assert "dinov2_vitl14" in models


def test_models_are_loaded_and_freed_by_name(demo_server: Server) -> None:
    with FeatsvcClient(demo_server.target, api_key=KEY) as client:
        assert client.load_model("demo-dino").loaded_workers == 1
        assert "demo-dino" in {each.key for worker in client.status().workers for each in worker.models}
        assert client.unload_model("demo-dino").loaded_workers == 0
        with pytest.raises(errors.ModelNotFound):
            client.load_model("no-such-model")
