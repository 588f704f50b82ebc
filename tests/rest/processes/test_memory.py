"""A shim that the system gives no more memory."""

from __future__ import annotations

import gzip
import resource
from pathlib import Path

import httpx
import psutil
import pytest

from rest_shim.app import transcoder
from tests.rest.fake_gateway import KEY, FakeGateway, fake_gateway
from tests.rest.runners import LONG_S, Log, runner, status_of
from tests.rest.shim import PICTURE, Shim

MIB = 1024 * 1024
LARGE = b" " * (60 * MIB)
# Less than the body, and enough for a thread and its answer.
LEFT_BYTES = 40 * MIB


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_body_that_memory_does_not_hold_is_told_so_and_harms_nobody_else(
    tmp_path: Path, coding: str
) -> None:
    log = Log(tmp_path / "log")
    body = gzip.compress(LARGE, 1) if coding == "gzip" else LARGE
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Content-Encoding": coding,
    }
    async with (
        fake_gateway() as fake,
        runner(log, "run_clip_server", "--port=0", f"--grpc-target={fake.target}") as running,
    ):
        url = running.url("clip", "/encode_text")
        assert await status_of(url, KEY) == 200
        process = psutil.Process(running.process.pid)
        most = process.memory_info().vms + LEFT_BYTES
        process.rlimit(resource.RLIMIT_AS, (most, most))
        async with httpx.AsyncClient(trust_env=False, timeout=LONG_S) as client:
            answered = await client.post(url, content=body, headers=headers)
        assert answered.status_code == 503
        assert "no memory" in answered.json()["detail"]
        assert answered.headers["retry-after"] == "1"
        assert await status_of(url, KEY) == 200
        assert running.process.returncode is None


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(12, "Cannot allocate memory"), RuntimeError("can't start new thread")],
    ids=["memory", "system", "thread"],
)
async def test_whatever_says_that_there_is_no_memory_is_503(
    ports: Shim, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def scarce(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(transcoder, "question", scarce)
        answered = await ports.post("clip", "/extract", {"image": PICTURE})
    assert answered.status_code == 503
    assert "no memory" in answered.json()["detail"]
    assert answered.headers["retry-after"] == "1"
    assert (await ports.post("clip", "/extract", {"image": PICTURE})).status_code == 200
