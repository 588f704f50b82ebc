"""The processes of a running server: what they import, what they weigh, and that killing a worker costs nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, SceneOptions, draw
from featsvc.processes import ARENAS
from featsvc.v1 import clip_pb2, clip_pb2_grpc, image_pb2, model_pb2, model_pb2_grpc, sam2_pb2, sam2_pb2_grpc
from tests.drawn import png
from tests.servers import FREE_PORTS, FREE_REST_PORTS, KEY, ROOT, Server, running, stop

MIB = 1024 * 1024
HEAP_BYTES = 64 * MIB
AUTHORISED = (("authorization", f"Bearer {KEY}"),)
# Some 50,000 prompts, near the limit, a few at a time: this would compute for many minutes.
ENDLESS = sam2_pb2.AutomaticMaskParams(points_per_side=100, crop_n_layers=1, points_per_batch=8)


def front_processes(server: Server) -> dict[str, psutil.Process]:
    """Gateway and shim, by name."""
    gateway = psutil.Process(server.process.pid)
    children = {" ".join(child.cmdline()): child for child in gateway.children()}
    shim = next(child for line, child in children.items() if "rest_shim" in line)
    return {"gateway": gateway, "shim": shim}


def test_gateway_and_shim_hold_no_torch_and_little_memory(tmp_path: Path) -> None:
    # A server of its own: what others have asked leaves pictures, which are kept up to a limit.
    with running(tmp_path / "log", "up", "--profile=demo", "--devices=cpu") as server:
        httpx.get(f"{server.url('clip')}/health").raise_for_status()
        for name, process in front_processes(server).items():
            libraries = [each.path for each in process.memory_maps()]
            assert any("grpc" in path for path in libraries), "the maps show no libraries at all"
            assert not [path for path in libraries if "torch" in path], name
            assert process.memory_full_info().uss < 100 * MIB, name
            assert arenas(process) <= ARENAS - 1, name


def arenas(process: psutil.Process) -> int:
    """How many arenas glibc has beside that of the first thread.

    Each begins at a multiple of its size; behind what is in use of it lies what may not be touched yet, up to its end.
    """
    regions = {}
    for each in process.memory_maps(grouped=False):
        start, end = (int(part, 16) for part in each.addr.split("-"))
        regions[start] = (end, each.perms)
    found = 0
    for start, (end, _) in regions.items():
        behind, perms = regions.get(end, (end, ""))
        found += start % HEAP_BYTES == 0 and perms.startswith("---") and behind >= start + HEAP_BYTES
    return found


@pytest.mark.parametrize("module", ["featsvc.server.commands.run", "rest_shim.serve"])
def test_importing_the_front_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


async def test_killing_a_worker_under_32_requests_fails_none_and_it_comes_back(tmp_path: Path) -> None:
    picture = png(draw(HELD_OUT_SEED, SceneOptions()).image)
    request = clip_pb2.ClipServiceExtractFeaturesRequest(image=image_pb2.Image(content=picture))
    request.params.load_size = 256
    with running(
        tmp_path / "log", "serve", "--profile=demo", "--devices=cpu", "--preload=demo-clip"
    ) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            clip, model = clip_pb2_grpc.ClipServiceStub(channel), model_pb2_grpc.ModelServiceStub(channel)
            first = await clip.ExtractFeatures(request, metadata=AUTHORISED)
            before = (await model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).workers[0]
            calls = [
                asyncio.ensure_future(clip.ExtractFeatures(request, metadata=AUTHORISED, timeout=150))
                for _ in range(32)
            ]
            # Once one has been answered the worker is in the middle of the others.
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            os.kill(before.pid, signal.SIGKILL)
            replies = await asyncio.gather(*calls)
            assert all(reply.features.data == first.features.data for reply in replies)
            after = (await model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).workers[0]
            assert (after.restarts, after.state in ("ready", "busy")) == (1, True)
            assert after.pid != before.pid
            parent = psutil.Process(after.pid).ppid()
            assert parent != server.process.pid, "forked: its libraries keep no threads, files or devices"


def test_sigterm_ends_every_process_without_a_trace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(log, "up", "--profile=demo", "--devices=cpu", "--preload=") as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert len(family) >= 2
        assert stop(server.process) == 0
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("children", [0, 1, 2])
def test_ctrl_c_while_the_server_starts_ends_it_without_a_trace(tmp_path: Path, children: int) -> None:
    """A terminal sends the signal to all processes of the group, whatever each of them has got to."""
    words = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "featsvc",
        "up",
        *FREE_PORTS,
        *FREE_REST_PORTS,
        f"--api-key={KEY}",
        "--preload=",
    ]
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(words, cwd=ROOT, stdout=errors, stderr=errors, process_group=0) as process,
    ):
        try:
            family = psutil.Process(process.pid)
            # What comes before that is Python's own start, which tells where the signal met it.
            while " featsvc.server\n" not in log.read_text() or len(family.children()) < children:
                assert process.poll() is None, log.read_text()
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) in (0, -signal.SIGINT)
        finally:
            process.kill()
    assert "Traceback" not in log.read_text()
    assert "does not start" not in log.read_text()


async def test_a_second_ctrl_c_ends_at_once_what_the_first_waits_for(tmp_path: Path) -> None:
    image = image_pb2.Image(content=png(draw(HELD_OUT_SEED, SceneOptions()).image))
    flags = ("--profile=demo", "--devices=cpu", "--preload=demo-sam2", "--grace=600")
    with running(tmp_path / "log", "up", *flags) as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        async with grpc.aio.insecure_channel(server.target) as channel:
            asked = sam2_pb2.GenerateMasksRequest(image=image, params=ENDLESS)
            call = sam2_pb2_grpc.Sam2ServiceStub(channel).GenerateMasks(asked, metadata=AUTHORISED)
            waiting = asyncio.ensure_future(call)
            status = model_pb2_grpc.ModelServiceStub(channel).GetStatus
            while (await status(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).workers[
                0
            ].state != "busy":
                assert not waiting.done()
            server.process.send_signal(signal.SIGINT)
            assert server.process.stdout is not None
            told = json.loads(await asyncio.to_thread(server.process.stdout.readline))
            assert told == {"event": "stopping", "requests": 1, "grace_s": 600}
            # Two within half a second may be one, so a person presses again.
            while server.process.poll() is None:
                server.process.send_signal(signal.SIGINT)
                await asyncio.sleep(0.1)
            assert server.process.returncode == 130
            _, alive = psutil.wait_procs(family, timeout=30)
            assert alive == []
            with pytest.raises(grpc.aio.AioRpcError):
                await waiting


def test_a_killed_gateway_takes_its_shim_and_its_workers_along(tmp_path: Path) -> None:
    with running(tmp_path / "log", "up", "--profile=demo", "--devices=cpu", "--preload=") as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.kill()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []


def test_a_server_that_shall_end_with_standard_input_does(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "featsvc", "serve", "--grpc-port=0", "--preload=", "--end-with-stdin"]
    ended = subprocess.run(words, cwd=ROOT, input="", capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr


def test_a_shim_is_started_again_on_its_ports_also_where_it_dies_young(demo_server: Server) -> None:
    for _ in range(2):
        front_processes(demo_server)["shim"].kill()
        transport = httpx.HTTPTransport(retries=8)  # with growing pauses, while nobody listens
        with httpx.Client(transport=transport, timeout=30) as client:
            for family in ("clip", "dino", "sam2"):
                assert client.get(f"{demo_server.url(family)}/health").json()["status"] == "healthy"
    assert demo_server.process.poll() is None


@pytest.mark.slow
def test_a_shim_that_is_stopped_is_started_again_on_its_ports(tmp_path: Path) -> None:
    with running(tmp_path / "log", "up", "--profile=demo", "--devices=cpu", "--preload=") as server:
        shim = front_processes(server)["shim"]
        shim.suspend()
        gone, _ = psutil.wait_procs([shim], timeout=120)
        assert gone == [shim]
        transport = httpx.HTTPTransport(retries=8)  # with growing pauses, while nobody listens
        with httpx.Client(transport=transport, timeout=60) as client:
            for family in ("clip", "dino", "sam2"):
                assert client.get(f"{server.url(family)}/health").json()["status"] == "healthy"
    assert "the REST shim gives no sign of life and is ended" in (tmp_path / "log").read_text()


def test_a_device_that_is_not_there_is_said_once_and_plainly() -> None:
    words = [sys.executable, "-m", "featsvc", "serve", "--grpc-port=0", "--devices=cuda:77"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("is not on this machine") == 1
    assert "featsvc: devices: cuda:77 is not on this machine" in ended.stderr
    assert '"level":"error"' not in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_work_that_nobody_waits_for_any_more_frees_the_device(demo_server: Server) -> None:
    image = image_pb2.Image(content=png(draw(HELD_OUT_SEED, SceneOptions()).image))
    endless = sam2_pb2.GenerateMasksRequest(image=image, params=ENDLESS)
    async with grpc.aio.insecure_channel(demo_server.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sam2_pb2_grpc.Sam2ServiceStub(channel).GenerateMasks(
                endless, metadata=AUTHORISED, timeout=4
            )
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        texts = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a red circle"]))
        reply = await clip_pb2_grpc.ClipServiceStub(channel).EncodeText(
            texts, metadata=AUTHORISED, timeout=100
        )
        assert reply.model == "demo-clip"
