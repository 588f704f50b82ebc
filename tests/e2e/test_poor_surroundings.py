"""A server on a machine that lacks something: it says what, or does without."""

from __future__ import annotations

import base64
import io
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import httpx
import pytest
from featsvc_client import channel
from PIL import Image

from featsvc.server.config.machine import LEAST_FILES
from featsvc.v1 import clip_pb2, clip_pb2_grpc
from tests.servers import FREE_PORTS, FREE_REST_PORTS, KEY, ROOT, Server, started

UP = (
    sys.executable, "-m", "featsvc", "up", *FREE_PORTS, *FREE_REST_PORTS,
    f"--api-key={KEY}", "--profile=demo", "--devices=cpu", "--offline",
)  # fmt: skip
PRLIMIT, UNSHARE = shutil.which("prlimit"), shutil.which("unshare")


def can_mount() -> bool:
    """Whether this user may have mounts of its own, which go with the process that has them."""
    return (
        UNSHARE is not None and subprocess.run([UNSHARE, "-m", "true"], capture_output=True).returncode == 0
    )


needs_prlimit = pytest.mark.skipif(PRLIMIT is None, reason="no prlimit on this machine")
needs_mounts = pytest.mark.skipif(not can_mount(), reason="mounts of its own need root and unshare")


def told(words: list[str]) -> str:
    """What a server says that ends by itself, with the status of a mistake."""
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def mounted(mounts: str) -> list[str]:
    """The server where the mounts of a shell's lines are."""
    return [UNSHARE or "", "-m", "sh", "-ec", f'{mounts}\nexec "$@"', "sh", *UP]


def filled(folder: str) -> str:
    """A shell's lines that put a full disk at a folder."""
    return f"mount -t tmpfs -o size=8k none {folder}; head -c 1M /dev/zero > {folder}/fill || true\n"


def answers(server: Server) -> list[httpx.Response]:
    """To a text, and to a picture that goes to the worker and its decoder by memory that they share."""
    file = io.BytesIO()
    Image.effect_noise((512, 384), 90).save(file, "PNG")
    assert file.tell() > 64 * 1024
    questions = {
        "encode_text": {"text": "a red circle"},
        "extract": {"image": base64.b64encode(file.getvalue()).decode()},
    }
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(headers=headers, timeout=120, trust_env=False) as client:
        return [client.post(f"{server.url('clip')}/{path}", json=body) for path, body in questions.items()]


@needs_prlimit
def test_too_few_files_are_told_before_grpc_ends_the_process() -> None:
    said = told([PRLIMIT or "", "--nofile=64:64", *UP])
    assert "this process may open 64 files and connections, and needs 256" in said
    assert "LimitNOFILE=" in said


@needs_prlimit
@pytest.mark.slow
def test_one_address_leaves_others_the_few_files_that_there_are(tmp_path: Path) -> None:
    words = [PRLIMIT or "", f"--nofile={LEAST_FILES}:{LEAST_FILES}", *UP]
    with started(words, ROOT, dict(os.environ), tmp_path / "log") as server, ExitStack() as stack:
        for port in (server.grpc_port, server.clip_port):
            for _ in range(LEAST_FILES):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 30, ("127.0.0.2", 0)))
        assert [each.status_code for each in answers(server)] == [200, 200]
        options = (*channel.OPTIONS, ("grpc.use_local_subchannel_pool", 1))
        with grpc.insecure_channel(server.target, options) as connected:
            asked = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a red circle"]))
            key = (("authorization", f"Bearer {KEY}"),)
            assert clip_pb2_grpc.ClipServiceStub(connected).EncodeText(asked, metadata=key, timeout=60)


@needs_prlimit
@pytest.mark.slow
def test_too_few_addresses_for_a_worker_are_told_and_not_tried_for_ever() -> None:
    said = told([PRLIMIT or "", f"--as={2 << 30}", *UP])
    assert "featsvc: a worker may have 2048 MiB of addresses (ulimit -v, LimitAS=)" in said
    assert said.count("2048 MiB") == 1


@needs_mounts
def test_without_a_temporary_folder_the_server_says_which_it_has_tried() -> None:
    said = told(
        mounted(
            # What is in them stays, for this clone may be.
            "for folder in /tmp /var/tmp .; do mount --bind $folder $folder; mount -o remount,ro,bind $folder; done\n"
            "cd ."
        )
    )
    assert "no temporary folder can be written to, of ['/tmp', '/var/tmp'," in said
    assert "TMPDIR" in said


@needs_mounts
@pytest.mark.slow
def test_a_disk_that_is_full_everywhere_is_told_as_such() -> None:
    said = told(mounted("".join(map(filled, ("/tmp", "/var/tmp", "/mnt"))) + "cd /mnt"))
    assert "no temporary folder can be written to, of ['/tmp', '/var/tmp'," in said
    assert "They are full, read-only or not there" in said


@needs_mounts
@pytest.mark.slow
def test_a_server_works_with_a_full_shared_memory_and_a_full_disk_and_a_home_that_cannot_be_written(
    tmp_path: Path,
) -> None:
    home = Path.home()
    words = mounted(
        f"{filled('/dev/shm')}{filled('/tmp')}mount --bind {home} {home}; mount -o remount,ro,bind {home}"
    )
    with started(words, ROOT, dict(os.environ), tmp_path / "log") as server:
        assert [each.status_code for each in answers(server)] == [200, 200]


@needs_mounts
@pytest.mark.slow
def test_a_disk_that_fills_up_stops_no_request_and_no_worker_that_is_to_start_again(tmp_path: Path) -> None:
    folders = ("/tmp", "/var/tmp", "/dev/shm")
    words = mounted("\n".join(f"mount -t tmpfs -o size=1m none {folder}" for folder in folders))
    with started(words, ROOT, dict(os.environ), tmp_path / "log") as server:
        # As the server sees them.
        files = [Path(f"/proc/{server.process.pid}/root{folder}/fill") for folder in folders]
        for file in files:
            with suppress(OSError), file.open("wb", buffering=0) as disk:
                while disk.write(bytes(4096)):
                    pass
        assert [each.status_code for each in answers(server)] == [200, 200]
        for worker in server.workers:
            worker.kill()
        assert [each.status_code for each in answers(server)] == [200, 200]
        for file in files:
            file.unlink()
        assert [each.status_code for each in answers(server)] == [200, 200]
