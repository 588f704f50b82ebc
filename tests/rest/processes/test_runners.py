"""The runners: ports, keys, workers, signals, and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from google.protobuf.message import Message

from featsvc.errors import Unavailable
from rest_shim.processes.supervise import own_gateway
from tests.rest.fake_gateway import KEY, fake_gateway
from tests.rest.runners import LONG_S, Log, Runner, runner, started, status_of

THREE_PORTS = ("--no-page", "--clip-port=0", "--dino-port=0", "--sam2-port=0")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def gone(processes: Iterable[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


@pytest.mark.parametrize("family", ["dino", "sam2"])
async def test_each_runner_serves_its_own_family(family: str, log: Log) -> None:
    flags = ("--port=0", "--log-level=debug")
    async with (
        fake_gateway() as fake,
        runner(log, f"run_{family}_server", *flags, f"--grpc-target={fake.target}") as running,
    ):
        assert running.ports == {"event": "listening", f"{family}_port": running.ports[f"{family}_port"]}
        assert await status_of(running.url(family)) == 200
        assert await status_of(running.url(family, "/encode_text"), KEY) == 404


async def test_one_process_serves_all_three_soon_and_in_150_mb(log: Log) -> None:
    async with fake_gateway() as fake:
        began = time.monotonic()
        async with runner(log, "serve", *THREE_PORTS, f"--grpc-target={fake.target}") as running:
            assert [await status_of(running.url(family)) for family in ("clip", "dino", "sam2")] == [200] * 3
            took_s = time.monotonic() - began
            process = psutil.Process(running.process.pid)
            spent = process.cpu_times()
            # An idle machine needs a second; on a busy one only its own work counts.
            assert min(took_s, spent.user + spent.system) < 6
            assert process.memory_info().rss < 150e6
            assert running.children == []
            assert not [each.path for each in process.memory_maps() if "torch" in each.path]
            assert await running.ended_by(signal.SIGINT) == 0
    assert "Traceback" not in log.content


async def test_sigterm_does_not_wait_for_work_longer_than_its_grace(log: Log) -> None:
    async with fake_gateway() as fake:
        asked, cancelled = fake.wait("ClipService/EncodeText")
        flags = ("--port=0", f"--grpc-target={fake.target}", "--grace=1")
        async with runner(log, "run_clip_server", *flags) as running:
            calling = asyncio.create_task(status_of(running.url("clip", "/encode_text"), KEY))
            await asyncio.wait_for(asked.wait(), LONG_S)
            assert await running.ended_by(signal.SIGTERM) == 0
            await asyncio.wait_for(cancelled.wait(), LONG_S)
            assert await calling == 503
    assert "Traceback" not in log.content


async def test_every_worker_takes_the_same_key_and_no_other_and_a_killed_one_comes_back(log: Log) -> None:
    async with fake_gateway() as fake:
        flags = ("--port=0", f"--grpc-target={fake.target}", "--workers=2", f"--api-key={KEY}")
        async with runner(log, "run_clip_server", *flags) as running:
            url = running.url("clip", "/encode_text")
            assert await status_of(running.url("clip")) == 200
            first, second = running.workers
            for asleep in (first, second):
                # What one of them does not take the other one must.
                asleep.suspend()
                assert await status_of(url, KEY) == 200
                assert await status_of(url, "smfeats") == 401
                asleep.resume()
            first.kill()
            second.suspend()
            assert await status_of(url, KEY) == 200
            second.resume()
            third = next(each for each in running.workers if each.pid != second.pid)
            assert await running.ended_by(signal.SIGTERM) == 0
            assert gone([second, third])
    assert "Traceback" not in log.content


async def test_ctrl_c_ends_all_workers_quietly(log: Log) -> None:
    async with fake_gateway() as fake:
        flags = (*THREE_PORTS, f"--grpc-target={fake.target}", "--workers=2")
        async with runner(log, "serve", *flags) as running:
            assert await status_of(running.url("clip")) == 200
            workers = running.workers
            assert len(workers) == 2
            assert await running.ended_by(signal.SIGINT) == 0
            assert gone(workers)
    assert "Traceback" not in log.content


async def test_workers_end_when_their_parent_is_killed(log: Log) -> None:
    async with fake_gateway() as fake:
        flags = ("--port=0", f"--grpc-target={fake.target}", "--workers=2")
        async with runner(log, "run_clip_server", *flags) as running:
            assert await status_of(running.url("clip")) == 200
            workers = running.workers
            await running.ended_by(signal.SIGKILL)
            _, alive = await asyncio.to_thread(psutil.wait_procs, workers, LONG_S)
            assert alive == []
    assert "Traceback" not in log.content


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_end_of_stdin_ends_a_shim_that_was_told_so(log: Log, workers: int) -> None:
    async with fake_gateway() as fake:
        flags = (*THREE_PORTS, f"--grpc-target={fake.target}", f"--workers={workers}", "--end-with-stdin")
        async with runner(log, "serve", *flags) as running:
            assert await status_of(running.url("clip")) == 200
            family, stdin = running.children, running.process.stdin
            assert stdin is not None
            stdin.close()
            assert await asyncio.wait_for(running.process.wait(), LONG_S) == 0
            assert gone(family)
    assert "Traceback" not in log.content


async def test_the_end_of_stdin_lets_a_request_finish(log: Log) -> None:
    async with fake_gateway() as fake:
        asked, finish = asyncio.Event(), asyncio.Event()

        async def slow(request: Message, context: grpc.aio.ServicerContext) -> Message:
            asked.set()
            await finish.wait()
            return fake.replies["ClipService/EncodeText"]

        fake.answers["ClipService/EncodeText"] = slow
        flags = (*THREE_PORTS, f"--grpc-target={fake.target}", "--end-with-stdin", f"--grace={LONG_S}")
        async with runner(log, "serve", *flags) as running:
            calling = asyncio.create_task(status_of(running.url("clip", "/encode_text"), KEY))
            await asyncio.wait_for(asked.wait(), LONG_S)
            assert running.process.stdin is not None
            running.process.stdin.close()
            await refused(running.ports["clip_port"])
            finish.set()
            assert await calling == 200
            assert await asyncio.wait_for(running.process.wait(), LONG_S) == 0


async def refused(port: int) -> None:
    """Returns once nobody listens."""
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            # A connection that is still in the queue when the listener closes is reset; the next one is refused.
            with contextlib.suppress(ConnectionResetError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()


async def test_without_being_told_so_a_shim_goes_on_when_stdin_ends(log: Log) -> None:
    async with (
        fake_gateway() as fake,
        runner(log, "serve", *THREE_PORTS, f"--grpc-target={fake.target}") as running,
    ):
        assert running.process.stdin is not None
        running.process.stdin.close()
        assert await status_of(running.url("clip")) == 200


async def test_a_gateway_ends_when_the_runner_that_started_it_is_killed(log: Log) -> None:
    flags = ("--port=0", "--profile=demo", "--devices=cpu", "--preload=")
    async with runner(log, "run_clip_server", *flags) as running:
        # Until it has said all that it has to say: writing to a runner that is gone would end it too.
        while await status_of(running.url("clip")) != 200:
            pass
        family = running.children
        assert any("featsvc" in each.cmdline() for each in family)
        assert await running.ended_by(signal.SIGKILL) == -signal.SIGKILL
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, LONG_S)
        assert alive == []


async def test_a_port_in_use_is_said_in_one_line(log: Log) -> None:
    async with fake_gateway() as fake:
        with log.opened() as errors:
            process = await started(
                errors, "run_clip_server", f"--port={fake.port}", f"--grpc-target={fake.target}"
            )
        await asyncio.wait_for(process.communicate(), LONG_S)
    assert process.returncode == 1
    assert "in use" in log.content
    assert len(log.content.splitlines()) == 1


async def test_a_runner_starts_the_gateway_that_it_needs_and_ends_it(log: Log) -> None:
    key = "secret-of-the-runner"
    limits = ("--timeout=60", "--max-reply-bytes=64MiB", "--max-body-bytes=8MiB", "--grace=5")
    flags = ("--port=0", f"--api-key={key}", "--profile=demo", "--devices=cpu", "--metrics-port=0", *limits)
    async with runner(log, "run_clip_server", *flags) as running:
        # An empty body needs no model: it is judged after the key.
        url = running.url("clip", "/encode_text")
        assert [await status_of(url, each, {}) for each in (key, "smfeats")] == [422, 401]
        # The gateway's own port of metrics knows of them too, and of what is refused before there is a request.
        assert await status_of(running.url("clip", "/nowhere")) == 404
        reader, writer = await asyncio.open_connection("127.0.0.1", running.ports["clip_port"])
        writer.write(b"no HTTP\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
        labels = [
            f'{{http_response_status_code="{status}",port="clip"}} 1.0' for status in (422, 401, 404, 400)
        ]
        page = ""
        while not all(f"featsvc_rest_refusals_total{each}" in page for each in labels):
            async with httpx.AsyncClient(trust_env=False, timeout=LONG_S) as client:
                page = (await client.get(f"http://127.0.0.1:{running.ports['metrics_port']}/metrics")).text
        family = running.children
        assert await running.ended_by(signal.SIGTERM) == 0
        assert gone(family)
    assert key not in log.content
    assert "Traceback" not in log.content


async def test_a_gateway_that_dies_is_started_again_where_it_was(log: Log) -> None:
    flags = ("--port=0", f"--api-key={KEY}", "--profile=demo", "--devices=cpu", "--preload=")
    async with runner(log, "run_clip_server", *flags) as running:
        (gateway,) = gateways(running)
        gateway.kill()
        await asyncio.to_thread(psutil.wait_procs, [gateway], LONG_S)
        # An empty body needs no model: it is judged after the key, which the shim may still know; another it asks for.
        while await status_of(running.url("clip", "/encode_text"), "another", {}) != 401:
            assert running.process.returncode is None, log.content
        assert await status_of(running.url("clip", "/encode_text"), KEY, {}) == 422
        (second,) = gateways(running)
        assert second.pid != gateway.pid
        assert await running.ended_by(signal.SIGTERM) == 0
        assert gone([second])
    assert "the gateway died and is started again" in log.content
    assert "Traceback" not in log.content


def gateways(running: Runner) -> list[psutil.Process]:
    """Those that it has started: a gateway's own workers have other command lines."""
    return [each for each in running.children if each.cmdline()[1:4] == ["-m", "featsvc", "serve"]]


@pytest.mark.slow
async def test_a_worker_that_is_stopped_is_started_again(log: Log) -> None:
    async with fake_gateway() as fake:
        flags = ("--port=0", f"--grpc-target={fake.target}", "--workers=2")
        async with runner(log, "run_clip_server", *flags) as running:
            assert await status_of(running.url("clip")) == 200
            stopped, other = running.workers
            stopped.suspend()
            await asyncio.to_thread(psutil.wait_procs, [stopped], LONG_S)
            assert gone([stopped])
            assert not gone([other])
            assert await status_of(running.url("clip")) == 200


async def test_a_gateway_that_cannot_start_is_told() -> None:
    with pytest.raises(Unavailable, match="the gateway does not start: it ended with status 2"):
        async with own_gateway(["--devices=nonsense"], grace_s=1, stop=asyncio.Event()):
            pass


async def test_the_page_is_served_alone_and_beside_the_others_unless_it_is_turned_off(log: Log) -> None:
    async with fake_gateway() as fake:
        target = f"--grpc-target={fake.target}"
        async with runner(log, "run_page_server", "--port=0", target) as running:
            assert set(running.ports) == {"event", "page_port"}
            assert await status_of(running.url("page", "/")) == 200
            assert await status_of(running.url("page", "/clip/encode_text"), KEY) == 200
        async with runner(log, "serve", "--page-port=0", *THREE_PORTS[1:], target) as running:
            assert list(running.ports)[:2] == ["event", "page_port"]
            assert await status_of(running.url("page", "/sam2/health")) == 200
