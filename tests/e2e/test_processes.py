"""The processes of a running server: what they import, what they weigh, and that killing a worker costs nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from featsvc.demo.scenes import HELD_OUT_SEED, SceneOptions, draw
from featsvc.v1 import clip_pb2, clip_pb2_grpc, image_pb2, model_pb2, model_pb2_grpc, sam2_pb2, sam2_pb2_grpc
from tests.pictures import png
from tests.servers import KEY, ROOT, Server, running, stop

MIB = 1024 * 1024
AUTHORISED = (("authorization", f"Bearer {KEY}"),)


def front_processes(server: Server) -> dict[str, psutil.Process]:
    """Gateway and shim, by name."""
    gateway = psutil.Process(server.process.pid)
    children = {" ".join(child.cmdline()): child for child in gateway.children()}
    shim = next(child for line, child in children.items() if "rest_shim" in line)
    return {"gateway": gateway, "shim": shim}


def test_gateway_and_shim_hold_no_torch_and_little_memory(demo_server: Server) -> None:
    httpx.get(f"{demo_server.url('clip')}/health").raise_for_status()
    for name, process in front_processes(demo_server).items():
        libraries = [each.path for each in process.memory_maps()]
        assert any("grpc" in path for path in libraries), "the maps show no libraries at all"
        assert not [path for path in libraries if "torch" in path], name
        assert process.memory_full_info().uss < 150 * MIB, name


@pytest.mark.parametrize("module", ["featsvc.server.run", "rest_shim.serve"])
def test_importing_the_front_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


async def test_killing_a_worker_under_32_requests_fails_none_and_it_comes_back(tmp_path: Path) -> None:
    picture = png(draw(HELD_OUT_SEED, SceneOptions()).image)
    request = clip_pb2.ClipServiceExtractFeaturesRequest(image=image_pb2.Image(content=picture))
    request.params.load_size = 512
    with running(
        tmp_path / "log", "serve", "--profile=demo", "--devices=cpu", "--preload=demo-clip"
    ) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            clip, model = clip_pb2_grpc.ClipServiceStub(channel), model_pb2_grpc.ModelServiceStub(channel)
            first = await clip.ExtractFeatures(request, metadata=AUTHORISED)
            before = (await model.GetStatus(model_pb2.GetStatusRequest())).workers[0]
            calls = [
                asyncio.ensure_future(clip.ExtractFeatures(request, metadata=AUTHORISED, timeout=150))
                for _ in range(32)
            ]
            # Once one has been answered the worker is in the middle of the others.
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            os.kill(before.pid, signal.SIGKILL)
            replies = await asyncio.gather(*calls)
            assert all(reply.features.data == first.features.data for reply in replies)
            after = (await model.GetStatus(model_pb2.GetStatusRequest())).workers[0]
            assert (after.restarts, after.state in ("ready", "busy")) == (1, True)
            assert after.pid != before.pid


def test_sigterm_ends_every_process_without_a_trace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(log, "up", "--profile=demo", "--devices=cpu", "--preload=") as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert len(family) >= 2
        assert stop(server.process) == 0
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
    assert "Traceback" not in log.read_text()


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


def test_a_dead_shim_is_started_again_on_its_ports(demo_server: Server) -> None:
    front_processes(demo_server)["shim"].kill()
    transport = httpx.HTTPTransport(retries=8)  # with growing pauses, while nobody listens
    with httpx.Client(transport=transport, timeout=30) as client:
        for family in ("clip", "dino", "sam2"):
            assert client.get(f"{demo_server.url(family)}/health").json()["status"] == "healthy"


async def test_work_that_nobody_waits_for_any_more_frees_the_device(demo_server: Server) -> None:
    image = image_pb2.Image(content=png(draw(HELD_OUT_SEED, SceneOptions()).image))
    # Some 50,000 prompts, near the limit, a few at a time: this would compute for many minutes.
    endless = sam2_pb2.GenerateMasksRequest(
        image=image,
        params=sam2_pb2.GenerateMasksParams(points_per_side=100, crop_n_layers=1, points_per_batch=8),
    )
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
