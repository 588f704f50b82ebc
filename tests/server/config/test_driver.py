"""Which GPUs `--devices auto` takes: those that CUDA's driver shows, here drivers that are made up."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from featsvc.server.config import devices, driver
from featsvc.server.config.driver import DriverError, found

GIB = 1 << 30


class FakeDriver:
    """Answers as libcuda does, through the pointers that it is given."""

    def __init__(self, gpus: int, status: int = 0) -> None:
        self._gpus, self._status = gpus, status

    def cuInit(self, flags: int) -> int:
        return self._status

    def cuGetErrorString(self, status: int, text: Any) -> int:
        text._obj.value = b"system has unsupported display driver / cuda driver combination"
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self._gpus
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = b"NVIDIA H100"[: size - 1]
        return 0

    def cuDeviceGetUuid_v2(self, uuid: Any, device: Any) -> int:
        uuid.raw = bytes([device.value]) * 16
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def cuDeviceTotalMem_v2(self, nbytes: Any, device: Any) -> int:
        nbytes._obj.value = 80 * GIB
        return 0


def test_each_gpu_of_the_driver_is_told_with_its_memory_and_capability() -> None:
    first, second = found(FakeDriver(2))
    assert first == {
        "name": "NVIDIA H100",
        "uuid": "00000000-0000-0000-0000-000000000000",
        "capability": "9.0",
        "memory_bytes": 80 * GIB,
    }
    assert second["uuid"] == "01010101-0101-0101-0101-010101010101"


def test_a_driver_without_gpus_shows_none_and_one_that_is_broken_says_why() -> None:
    assert found(FakeDriver(0)) == []
    assert found(FakeDriver(8, status=driver.NO_DEVICE)) == []
    with pytest.raises(DriverError, match=r"unsupported display driver.*\(CUDA error 803\)"):
        found(FakeDriver(8, status=803))


@pytest.mark.parametrize(
    ("printed", "taken"),
    [
        ('{"gpus": []}', ("cpu",)),
        (
            '{"gpus": [{"name": "a", "memory_bytes": 1}, {"name": "b", "memory_bytes": 2}]}',
            ("cuda:0", "cuda:1"),
        ),
    ],
)
def test_auto_is_every_gpu_or_else_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, printed: str, taken: tuple[str, ...]
) -> None:
    monkeypatch.setattr(devices, "ASK_DRIVER", (sys.executable, "-c", f"print({printed!r})"))
    with caplog.at_level(logging.INFO):
        assert devices.devices("auto") == taken
    gpus = json.loads(printed)["gpus"]
    assert [record.__dict__["gpu"] for record in caplog.records] == gpus


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ('print(\'{"problem": "CUDA driver is too old"}\')', "CUDA driver is too old"),
        ("import os; os.abort()", "died with <Signals.SIGABRT"),
        ("print('no JSON')", "Expecting value"),
        ("import time; time.sleep(600)", "has not answered within 1 s"),
    ],
)
def test_a_driver_that_does_not_work_is_told_and_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, program: str, reason: str
) -> None:
    monkeypatch.setattr(devices, "ASK_DRIVER", (sys.executable, "-c", program))
    monkeypatch.setattr(devices, "LONGEST_LOOK_S", 1)
    with caplog.at_level(logging.WARNING):
        assert devices.devices("auto") == ("cpu",)
    assert reason in caplog.text


def test_the_program_that_asks_ends_with_an_answer_on_this_machine() -> None:
    assert devices.devices("auto")
