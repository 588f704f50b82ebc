"""What a whole server says of its work: with each reply, on its metrics port, and on a terminal."""

from __future__ import annotations

import base64
import time
from typing import Any

import grpc
import httpx
import pytest

from featsvc.codec.timing import HEADER, WANTED, Timing
from featsvc.server.commands.cli import main
from featsvc.server.metrics.reading import ReadPage
from featsvc.v1 import dino_pb2, dino_pb2_grpc, image_pb2
from tests.servers import KEY, Server

SAM2 = "featsvc.v1.Sam2Service/PredictMasks"
AUTHORISED = (("authorization", f"Bearer {KEY}"), (HEADER, WANTED))
BEARER = {"Authorization": f"Bearer {KEY}"}


def figures(server: Server) -> ReadPage:
    """What the metrics port says now."""
    page = httpx.get(f"http://127.0.0.1:{server.metrics_port}/metrics", trust_env=False)
    return ReadPage.of(page.text)


def posted(server: Server, family: str, path: str, body: dict[str, Any]) -> httpx.Response:
    response = httpx.post(server.url(family) + path, json=body, headers=BEARER, timeout=120, trust_env=False)
    assert response.status_code == 200, response.text
    return response


def taken_ms(timing: Timing) -> float:
    return timing.queue_ms + timing.decode_ms + timing.compute_ms + timing.encode_ms


def test_a_reply_says_what_its_decoding_and_its_pass_have_taken(demo_server: Server, picture: bytes) -> None:
    began = time.monotonic()
    response = posted(demo_server, "dino", "/extract", {"image": base64.b64encode(picture).decode()})
    over_rest, rest_ms = Timing.read(response.headers["X-Featsvc-Timing"]), 1000 * (time.monotonic() - began)
    with grpc.insecure_channel(demo_server.target) as channel:
        request = dino_pb2.DinoServiceExtractFeaturesRequest(image=image_pb2.Image(content=picture))
        began = time.monotonic()
        _, call = dino_pb2_grpc.DinoServiceStub(channel).ExtractFeatures.with_call(
            request, metadata=AUTHORISED
        )
        grpc_ms = 1000 * (time.monotonic() - began)
    over_grpc = Timing.read(dict(call.trailing_metadata())[HEADER])
    for timing, whole_ms in ((over_rest, rest_ms), (over_grpc, grpc_ms)):
        assert timing is not None
        assert timing.decode_ms > 0
        assert timing.compute_ms > 0
        assert timing.batch_size == 1
        assert taken_ms(timing) <= whole_ms


def test_the_port_counts_questions_device_time_and_what_was_found_in_a_cache(
    demo_server: Server, picture: bytes
) -> None:
    before = figures(demo_server)
    click = {
        "image": base64.b64encode(picture).decode(),
        "point_coords": [[20, 20]],
        "point_labels": [1],
    }
    for _ in range(2):
        posted(demo_server, "sam2", "/prompt_mask", click)
    after = figures(demo_server)

    def more(name: str, **labels: str) -> float:
        return after.sum(name, **labels) - before.sum(name, **labels)

    assert more("featsvc_questions_total", rpc_method=SAM2, rpc_response_status_code="OK") == 2
    assert more("featsvc_compute_time_seconds_count", rpc_method=SAM2) == 2
    assert more("featsvc_caller_compute_seconds_total") > 0
    assert more("featsvc_worker_compute_seconds_total", worker="0") > 0
    # The second click finds its picture encoded.
    assert more("featsvc_cache_hits_total", worker="0") >= 1
    assert after.sum("featsvc_model_bytes", worker="0") > 0
    assert after.sum("process_resident_memory_bytes") > 0
    assert after.sum("featsvc_event_loop_lag_seconds_count") > 0


def test_the_server_is_seen_on_a_terminal(
    demo_server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["top", f"127.0.0.1:{demo_server.metrics_port}", "--once"]) == 0
    out = capsys.readouterr().out
    assert f"at 127.0.0.1:{demo_server.metrics_port}: ready" in out
    assert "cpu" in out
