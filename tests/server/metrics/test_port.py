"""The port itself: probes, mistakes, and visitors that are slow."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
from http import HTTPStatus

import psutil  # type: ignore[import-untyped]
import pytest

from featsvc.errors import InvalidArgument
from featsvc.server.metrics import port
from tests.server.asking import asking
from tests.server.conftest import AUTHORISED, start
from tests.server.metrics.conftest import Watched, client_of

BROKEN = "ViT-B-16/openai"


async def raw(number: int | None, request: bytes) -> bytes:
    """What comes back, to the end of the connection."""
    assert number is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_live_worker_makes_it_ready_and_a_lost_one_is_told(watched: Watched) -> None:
    ready = await watched.get("/readyz")
    assert ready.status_code == HTTPStatus.OK
    found = ready.json()
    assert (found["status"], found["problems"]) == ("ready", [])
    assert found["workers"] == {"alive": 1, "all": 1}
    assert found["services"]["featsvc.v1.ClipService"] == "serving"
    pool = watched.running.gateway.pool
    (worker,) = pool.status().workers
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    await pool.alive_change(1)
    # The health of gRPC hears of it in the same turn of the loop or the next.
    while (lost := await watched.get("/readyz")).status_code == HTTPStatus.OK:
        pass
    told = lost.json()
    assert told["status"] == "not ready"
    assert told["services"]["featsvc.v1.ClipService"] == "not serving"
    assert [each for each in told["problems"] if each.startswith("worker 0 on cpu ")]
    assert (await watched.get("/healthz")).json() == {"status": "alive"}
    await pool.alive_change(0)
    await watched.running.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
    found = await watched.samples()
    assert found["featsvc_worker_restarts_total", frozenset({("worker", "0")})] == 1


async def test_a_model_that_cannot_be_preloaded_is_told_with_its_reason() -> None:
    async with start(metrics_port=0, preload=(BROKEN,)) as running, client_of(running) as client:
        told = (await client.get("/readyz")).json()
        assert told["status"] == "ready"
        (problem,) = told["problems"]
        assert problem.startswith(f"worker 0: {BROKEN} should be loaded and cannot: ")
        assert "--weights-dir" in problem
        page = (await client.get("/metrics")).text
        assert f'featsvc_model_failed{{model="{BROKEN}",worker="0"}} 1.0' in page


def test_a_gateway_that_nobody_watches_imports_nothing_for_that() -> None:
    code = (
        "import sys, featsvc.server.gateway; print({'prometheus_client', 'opentelemetry'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


async def test_nothing_listens_unless_it_is_asked_for() -> None:
    async with start() as running:
        assert running.gateway.metrics_port is None
        assert running.gateway.ports == {"grpc_port": running.gateway.port}


async def test_it_listens_on_this_machine_alone_whatever_the_host_is() -> None:
    async with start(host="0.0.0.0", metrics_port=0) as running:
        open_at = {
            each.laddr.port: each.laddr.ip
            for each in psutil.Process().net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        }
        assert open_at[running.gateway.metrics_port] == "127.0.0.1"
        assert open_at[running.gateway.port] != "127.0.0.1"


async def test_other_paths_methods_and_bytes_are_refused_in_words(watched: Watched) -> None:
    number = watched.running.gateway.metrics_port
    missing = await watched.get("/nothing")
    assert (missing.status_code, missing.text) == (404, "here are /metrics, /healthz and /readyz")
    assert (await watched.client.post("/metrics")).status_code == HTTPStatus.METHOD_NOT_ALLOWED
    head = await watched.client.head("/metrics?x=1")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 1000
    absolute = await raw(number, b"GET http://h:1/healthz?x HTTP/1.1\r\nhost: h\r\n\r\n")
    assert absolute.startswith(b"HTTP/1.1 200 ")
    assert absolute.endswith(b'{"status":"alive"}')
    assert (await raw(number, b"\x16\x03\x01\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert (await raw(number, b"GET /metrics HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 70_000)).startswith(
        b"HTTP/1.1 431 "
    )


async def test_visitors_that_say_nothing_give_way_to_others(watched: Watched) -> None:
    number = watched.running.gateway.metrics_port
    idle = [await asyncio.open_connection("127.0.0.1", number) for _ in range(port.MOST_CONNECTIONS + 3)]
    assert (await watched.get("/healthz")).status_code == HTTPStatus.OK
    # The first ones were closed for those that came later.
    assert await asyncio.gather(*(reader.read() for reader, _ in idle[:4])) == [b""] * 4
    for _, writer in idle:
        writer.close()


async def test_an_address_that_crowds_the_port_pushes_out_nobody_else(watched: Watched) -> None:
    number = watched.running.gateway.metrics_port
    probe, probing = await asyncio.open_connection("127.0.0.1", number)
    crowd = [
        await asyncio.open_connection("127.0.0.1", number, local_addr=("127.0.0.2", 0))
        for _ in range(port.MOST_CONNECTIONS + 3)
    ]
    assert await asyncio.gather(*(reader.read() for reader, _ in crowd[:4])) == [b""] * 4
    probing.write(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n")
    assert (await probe.read()).startswith(b"HTTP/1.1 200 ")
    for writer in (probing, *(each for _, each in crowd)):
        writer.close()


async def test_visitors_that_come_all_at_once_are_no_more_than_there_may_be(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "PATIENCE_S", 3600.0)
    number = watched.running.gateway.metrics_port
    come = [socket.create_connection(("127.0.0.1", number)) for _ in range(4 * port.MOST_CONNECTIONS)]
    lines = [await asyncio.open_connection(sock=each) for each in come]
    ended = asyncio.as_completed([reader.read() for reader, _ in lines], timeout=60)
    for each in itertools.islice(ended, 3 * port.MOST_CONNECTIONS):
        assert await each == b""
    for _, writer in lines:
        writer.close()


async def test_a_visitor_that_is_too_slow_is_let_go(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "PATIENCE_S", 0.01)
    assert await raw(watched.running.gateway.metrics_port, b"GET /healthz HT") == b""


async def test_a_port_that_is_taken_is_a_mistake_of_its_setting(watched: Watched) -> None:
    taken = watched.running.gateway.metrics_port
    with pytest.raises(InvalidArgument, match=f"metrics_port: 127.0.0.1:{taken} cannot be opened"):
        async with start(metrics_port=taken):
            pass
