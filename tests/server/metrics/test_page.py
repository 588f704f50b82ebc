"""What /metrics says: the table, and true figures."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as open_parser
from prometheus_client.parser import text_string_to_metric_families

from featsvc import __version__
from featsvc.server.metrics.table import CALL_BUCKETS, TABLE
from featsvc.v1 import clip_pb2
from tests.authority import Authority
from tests.server.asking import OTHER_KEY, arrived, asking, gate_at, opened, refusal
from tests.server.conftest import AUTHORISED, heard, start
from tests.server.metrics.conftest import Watched, client_of, labels

EXTRACT = "featsvc.v1.ClipService/ExtractFeatures"
MODEL = "demo-clip"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# The libraries' own.
PROCESS = "process_"
# What has no value without TLS, what a CPU has none of, what has not gone wrong, and what nobody asks at the moment.
ABSENT = {
    "featsvc_certificate_left_seconds",
    *("featsvc_device_memory_bytes", "featsvc_device_free_bytes", "featsvc_model_failed"),
    *("featsvc_device_utilization_ratio", "featsvc_waiting_questions", "featsvc_working_questions"),
}


async def test_calls_and_questions_are_counted_by_method_model_and_caller(watched: Watched) -> None:
    clip = watched.running.clip
    for _ in range(2):
        await clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
    await clip.ExtractFeatures(asking(b"say 1"), metadata=OTHER_KEY)
    await refusal(clip.ExtractFeatures(asking(b"broken"), metadata=AUTHORISED))
    await refusal(clip.ExtractFeatures(asking(b"say 1"), metadata=(("authorization", "Bearer wrong"),)))
    found = await watched.samples()
    method = {"rpc_method": EXTRACT}

    def calls(caller: str, code: str) -> float:
        return found["featsvc_calls_total", labels(**method, rpc_response_status_code=code, caller=caller)]

    def durations(code: str, error: str) -> float:
        said = {"rpc_system_name": "grpc", "rpc_response_status_code": code, "error_type": error}
        return found["rpc_server_call_duration_seconds_count", labels(**method, **said)]

    # One caller is named, as --metrics-callers says; who has no right key is none.
    assert [calls("key 0", "OK"), calls("other", "OK")] == [2, 1]
    assert [calls("key 0", "INVALID_ARGUMENT"), calls("none", "UNAUTHENTICATED")] == [1, 1]
    assert durations("OK", "") == 3
    assert durations("INVALID_ARGUMENT", "invalid-fields") == 1
    assert durations("UNAUTHENTICATED", "unauthenticated") == 1
    size = len(asking(b"say 1").SerializeToString())
    assert found["featsvc_request_bytes_total", labels(**method, caller="other")] == size
    assert found["featsvc_response_bytes_total", labels(**method, caller="other")] > 0
    asked = {**method, "model": MODEL, "caller": "key 0"}
    name = "featsvc_questions_total"
    assert found[name, labels(**asked, rpc_response_status_code="OK")] == 2
    assert found[name, labels(**asked, rpc_response_status_code="INVALID_ARGUMENT")] == 1
    for part in ("queue_time_seconds", "worker_wait_seconds", "decode_time_seconds", "compute_time_seconds"):
        assert found[f"featsvc_{part}_count", labels(**method, model=MODEL)] == 3
    assert found["featsvc_batch_size_sum", labels(**method, model=MODEL)] == 3
    assert found["featsvc_worker_items_total", labels(worker="0")] == 4
    shares = [
        found["featsvc_caller_compute_seconds_total", labels(caller=each)] for each in ("key 0", "other")
    ]
    assert abs(sum(shares) - found["featsvc_worker_compute_seconds_total", labels(worker="0")]) < 1e-9


async def test_nothing_is_told_of_a_worker_that_is_gone(watched: Watched) -> None:
    clip = watched.running.clip
    pool: Any = watched.running.gateway.pool  # of workers, which have such methods
    await clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
    device = pool.status().workers[0].device
    number = pool.add_worker(device)
    await pool.remove_worker(0, grace_s=60)
    await clip.ExtractFeatures(asking(b"say 2"), metadata=AUTHORISED)
    told = {
        dict(of)["worker"]
        for name, of in await watched.samples()
        if "_worker_" in name and "worker" in dict(of)
    }
    assert told == {str(number)}


async def test_pictures_that_had_to_go_are_counted() -> None:
    async with start(metrics_port=0, image_cache=2048) as running, client_of(running) as client:
        for number in range(20):
            await running.clip.ExtractFeatures(asking(b"say %d" % number), metadata=AUTHORISED)
        found = await Watched(running, client).samples()
        of_pictures = labels(cache="pictures", worker="gateway")
        kept = found["featsvc_cache_entries", of_pictures]
        assert 0 < kept < 20
        assert found["featsvc_cache_evictions_total", of_pictures] == 20 - kept


async def test_what_waits_and_is_at_work_is_told_while_it_is_so(watched: Watched, tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    clip, program = watched.running.clip, b"block " + gate.encode()
    blocking = asyncio.ensure_future(clip.ExtractFeatures(asking(program), metadata=AUTHORISED))
    await arrived(gate)
    found = await watched.samples()
    asked = labels(rpc_method=EXTRACT, model=MODEL, caller="key 0")
    assert found["featsvc_working_questions", asked] == 1
    assert found["featsvc_waiting_questions", asked] == found["featsvc_queue_length", labels()] == 0
    assert found["featsvc_queue_length_limit", labels()] == 7
    assert found["featsvc_open_calls", labels(has_key="yes")] == 1
    assert found["featsvc_worker_up", labels(worker="0", device="cpu")] == 1
    assert found["featsvc_worker_info", labels(worker="0", machine="", uuid="")] == 1
    await opened(gate)
    await blocking
    assert ("featsvc_working_questions", asked) not in await watched.samples()


async def test_every_metric_is_of_the_table_and_says_what_it_is(watched: Watched) -> None:
    await watched.running.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
    page = (await watched.get("/metrics")).text
    told = {each.name: each for each in text_string_to_metric_families(page)}
    table = {each.name.removesuffix("_total"): each for each in TABLE}
    assert {name for name in told if not name.startswith(PROCESS)} == table.keys() - ABSENT
    for name, family in told.items():
        if metric := table.get(name):
            assert (family.type, family.documentation) == (metric.kind, metric.help)
            for sample in family.samples:
                assert sample.name.removeprefix(name) in SUFFIXES[metric.kind]
                assert sample.labels.keys() - {"le"} == {*metric.labels}
    bounds = {
        sample.labels["le"]
        for sample in told["rpc_server_call_duration_seconds"].samples
        if "le" in sample.labels
    }
    assert {float(each) for each in bounds} == {*CALL_BUCKETS, float("inf")}


async def test_the_page_and_the_log_tell_when_the_certificate_ends(tmp_path: Path) -> None:
    pair = Authority(tmp_path).server(end=datetime.now(UTC) + timedelta(days=2))
    async with (
        heard("featsvc.certificates") as lines,
        start(metrics_port=0, tls_cert=str(pair.cert), tls_key=str(pair.key)) as running,
        client_of(running) as client,
    ):
        found = await Watched(running, client).samples()
        left_s = found["featsvc_certificate_left_seconds", labels()]
        assert 2 * 24 * 3600 - 600 < left_s < 2 * 24 * 3600
        assert (await lines.get())["message"] == "the certificate expires soon"


async def test_the_page_comes_in_the_form_that_is_asked_for(watched: Watched) -> None:
    plain = await watched.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    asked = await watched.get(
        "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    )
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in text_string_to_metric_families(plain.text)}
    families = open_parser.text_string_to_metric_families(asked.text)  # type: ignore[no-untyped-call]
    assert {family.name for family in families} == names
    assert f'featsvc_build_info{{version="{__version__}"}} 1.0' in asked.text


async def test_a_stream_is_one_call_and_many_questions(watched: Watched) -> None:
    questions = [
        clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id=str(number), request=asking(b"say 1"))
        for number in range(3)
    ]
    call = watched.running.clip.ExtractFeaturesStream(iter(questions), metadata=AUTHORISED)
    assert len([message async for message in call]) == 3
    found = await watched.samples()
    asked = labels(rpc_method=EXTRACT, model=MODEL, caller="key 0", rpc_response_status_code="OK")
    assert found["featsvc_questions_total", asked] == 3
    streamed = labels(rpc_method=f"{EXTRACT}Stream", rpc_response_status_code="OK", caller="key 0")
    assert found["featsvc_calls_total", streamed] == 1


async def test_prometheus_finds_no_fault_with_the_page(watched: Watched) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on this machine: apt-get install prometheus")
    await watched.running.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
    page = (await watched.get("/metrics")).content
    command = [program, "check", "metrics"]
    done = await asyncio.to_thread(subprocess.run, command, input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
