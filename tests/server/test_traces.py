"""Traces through REST, gateway and worker, at a collector of OTLP on loopback."""

from __future__ import annotations

import base64
import itertools
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from featsvc import tracing
from featsvc.errors import InvalidArgument
from featsvc.v1 import clip_pb2, model_pb2
from tests.rest.shim import shim
from tests.server.asking import asking, refusal
from tests.server.conftest import AUTHORISED, KEY, start
from tests.server.metrics.conftest import client_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
EXTRACT = "featsvc.v1.ClipService/ExtractFeatures"
PICTURE = b"say 41"


@dataclass
class Collector:
    """Takes spans, each with the name of its service."""

    port: int = 0
    spans: list[tuple[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def named(self, name: str) -> Any:  # Any: a span of OpenTelemetry
        (found,) = [span for _, span in self.spans if span.name == name]
        return found

    async def Export(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        self.raw.append(request.SerializeToString())
        for resource in request.resource_spans:
            facts = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(facts["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(found, server)  # type: ignore[no-untyped-call]
    found.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield found
    await server.stop(None)


def facts_of(span: Any) -> dict[str, Any]:  # Any: as above
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


async def test_a_request_is_one_trace_from_its_caller_to_the_worker(collector: Collector) -> None:
    otlp = {"otlp_endpoint": collector.endpoint, "otlp_sample": 0.0}
    async with start(**otlp) as running, shim(f"127.0.0.1:{running.gateway.port}", **otlp) as ports:
        response = await ports.client.post(
            ports.url("clip", "/extract"),
            json={"image": base64.b64encode(PICTURE).decode()},
            headers={"Authorization": f"Bearer {KEY}", "traceparent": SAMPLED},
        )
    assert response.status_code == 200
    assert {span.trace_id.hex() for _, span in collector.spans} == {TRACE}
    rest, call = collector.named("POST /extract"), collector.named(f"{EXTRACT}Chunked")
    assert (rest.parent_span_id.hex(), call.parent_span_id) == (SPAN, rest.span_id)
    assert response.headers["traceresponse"] == f"00-{TRACE}-{rest.span_id.hex()}-01"
    parts = [collector.named(name) for name in ("queue", "decode", "compute", "encode")]
    assert {part.parent_span_id for part in parts} == {call.span_id}
    assert len(collector.spans) == 2 + len(parts)
    times = [time for part in parts for time in (part.start_time_unix_nano, part.end_time_unix_nano)]
    # Each begins where the one before it ends, or later; what a clock rounds away is a microsecond.
    assert all(later > earlier - 10_000 for earlier, later in itertools.pairwise(times))
    assert call.start_time_unix_nano < times[0] < times[-1] < call.end_time_unix_nano
    assert facts_of(call) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{EXTRACT}Chunked",
        "rpc.response.status_code": "OK",
        "featsvc.caller": "key 0",
        "featsvc.request_id": response.headers["x-request-id"],
        "featsvc.request_bytes": facts_of(call)["featsvc.request_bytes"],
        "featsvc.response_bytes": facts_of(call)["featsvc.response_bytes"],
    }
    told = {"rpc.method": EXTRACT, "featsvc.model": "demo-clip", "featsvc.worker": 0}
    assert facts_of(parts[2]) == {**told, "featsvc.batch_size": 1, "featsvc.paused_s": 0.0}
    assert {service for service, _ in collector.spans} == {"featsvc-rest", "featsvc-gateway"}
    for raw in collector.raw:
        assert PICTURE not in raw
        assert base64.b64encode(PICTURE) not in raw
        assert KEY.encode() not in raw


async def test_what_its_caller_says_decides_and_else_the_setting(collector: Collector) -> None:
    given: list[dict[str, str]] = [{"traceparent": UNSAMPLED}, {"traceparent": "nonsense"}, {}]
    for sample, traced in ((0.0, 0), (1.0, 2)):
        collector.spans.clear()
        async with start(otlp_endpoint=collector.endpoint, otlp_sample=sample) as running:
            for each in given:
                metadata = (*AUTHORISED, *each.items())
                call = running.clip.ExtractFeatures(asking(b"say 1"), metadata=metadata)
                await call
                assert ("traceresponse" in dict(await call.trailing_metadata())) is bool(
                    sample and each.get("traceparent") != UNSAMPLED
                )
        assert sum(span.name == EXTRACT for _, span in collector.spans) == traced


async def test_a_rest_port_that_does_not_choose_a_request_says_so_to_the_gateway(
    collector: Collector,
) -> None:
    async with (
        start(otlp_endpoint=collector.endpoint, otlp_sample=1.0) as running,
        shim(f"127.0.0.1:{running.gateway.port}", otlp_endpoint=collector.endpoint, otlp_sample=0.0) as ports,
    ):
        response = await ports.client.post(
            ports.url("clip", "/encode_text"),
            json={"text": "a"},
            headers={"Authorization": f"Bearer {KEY}"},
        )
    assert response.status_code == 200
    assert "traceresponse" not in response.headers
    # The question about the key belongs to no request.
    assert "featsvc.v1.ClipService/EncodeText" not in {span.name for _, span in collector.spans}


async def test_refusals_are_errors_and_each_question_of_a_stream_has_its_parts(collector: Collector) -> None:
    metadata = (*AUTHORISED, ("traceparent", SAMPLED))
    async with start(otlp_endpoint=collector.endpoint, metrics_port=0) as running:
        await refusal(running.clip.ExtractFeatures(asking(b"broken"), metadata=metadata))
        await running.model.GetStatus(model_pb2.GetStatusRequest())
        questions = [
            clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id=str(number), request=asking(b"say 1"))
            for number in range(3)
        ]
        call = running.clip.ExtractFeaturesStream(iter(questions), metadata=metadata)
        assert len([message async for message in call]) == 3
        async with client_of(running) as client:
            accept = {"Accept": "application/openmetrics-text"}
            page = (await client.get("/metrics", headers=accept)).text
    failed = collector.named(EXTRACT)
    assert facts_of(failed)["error.type"] == "invalid-fields"
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    streamed = collector.named(f"{EXTRACT}Stream")
    computed = [span for _, span in collector.spans if span.name == "compute"]
    assert [span.parent_span_id for span in computed] == [streamed.span_id] * 3
    # A histogram's bucket shows where to look.
    assert f'# {{trace_id="{TRACE}"}}' in page


async def test_callers_without_a_right_key_have_no_say(collector: Collector) -> None:
    otlp = {"otlp_endpoint": collector.endpoint, "otlp_sample": 0.0}
    async with start(**otlp) as running, shim(f"127.0.0.1:{running.gateway.port}", **otlp) as ports:
        for key in ({}, {"authorization": "Bearer wrong"}):
            headers = {"traceparent": SAMPLED, **key}
            await refusal(running.clip.ExtractFeatures(asking(b"say 1"), metadata=tuple(headers.items())))
            for path in ("/encode_text", "/nothing"):
                response = await ports.client.post(ports.url("clip", path), json={}, headers=headers)
                assert response.status_code in (401, 404)
                assert "traceresponse" not in response.headers
        await running.model.GetStatus(model_pb2.GetStatusRequest(), metadata=(("traceparent", SAMPLED),))
    assert not collector.spans


async def test_a_collector_that_is_away_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXPORT_S", 0.05)
    async with start(otlp_endpoint="http://127.0.0.1:1", otlp_sample=1.0) as running:
        await running.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)


async def test_traces_without_opentelemetry_are_a_mistake_of_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidArgument, match=r"\.\[otel\]"):
        async with start(otlp_endpoint="http://127.0.0.1:1"):
            pass
