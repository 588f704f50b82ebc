"""A server on a machine that lacks something: it says what, or does without."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers import FREE_PORTS, FREE_REST_PORTS, KEY, ROOT, event, stop

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


@needs_prlimit
def test_too_few_files_are_told_before_grpc_ends_the_process() -> None:
    said = told([PRLIMIT or "", "--nofile=64:64", *UP])
    assert "this process may open 64 files and connections, and needs 256" in said
    assert "LimitNOFILE=" in said


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
def test_a_server_works_with_a_full_shared_memory_and_a_full_disk_and_a_home_that_cannot_be_written(
    tmp_path: Path,
) -> None:
    home = Path.home()
    words = mounted(
        "mount -t tmpfs -o size=8k none /dev/shm; head -c 1M /dev/zero > /dev/shm/fill || true\n"
        "mount -t tmpfs -o size=8k none /tmp; head -c 1M /dev/zero > /tmp/fill || true\n"
        f"mount --bind {home} {home}; mount -o remount,ro,bind {home}"
    )
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            assert process.stdout is not None
            ports = event(process.stdout, "listening", log)
            event(process.stdout, "ready", log)
            reply = httpx.post(
                f"http://127.0.0.1:{ports['clip_port']}/encode_text",
                json={"text": "a red circle"},
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=60,
            )
            assert reply.status_code == 200, reply.text
        finally:
            stop(process)
