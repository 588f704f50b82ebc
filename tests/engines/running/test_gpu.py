"""What is told of a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from featsvc.engines.running import gpu as running
from featsvc.engines.running.gpu import gpu
from tests.engines.pretended.cuda import PretendCuda


class NvmlError(Exception):
    """The class of all errors of the driver's library."""


class FakeNvml(SimpleNamespace):
    """As nvidia-ml-py: GPU number 1 has worked for 87 % of the last second."""

    NVMLError = NvmlError

    def nvmlInit(self) -> None:
        """The library is there."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        """Of a whole GPU alone."""
        if uuid != "GPU-number 1":
            raise NvmlError("Not Found")
        return uuid

    def nvmlDeviceGetUtilizationRates(self, device: str) -> SimpleNamespace:
        """In percent."""
        return SimpleNamespace(gpu=87, memory=3)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, object], int | None]]:
    """The use of a device where the library is this."""

    def use(device: str, library: object) -> int | None:
        monkeypatch.setattr(running, "pynvml", library)
        known = gpu(device)
        assert known is not None
        assert (known.name, known.uuid) == ("Pretended", f"number {device[-1]}")
        return known.utilization_percent

    with PretendCuda().installed():
        yield use


def test_the_use_of_a_gpu_is_asked_by_what_no_other_is_called(
    told: Callable[[str, object], int | None],
) -> None:
    assert told("cuda:1", FakeNvml()) == 87


def test_where_the_driver_does_not_tell_its_use_it_is_not_known(
    told: Callable[[str, object], int | None],
) -> None:
    assert told("cuda:0", FakeNvml()) is None
    assert told("cuda:1", None) is None


def test_of_a_cpu_nothing_is_told() -> None:
    assert gpu("cpu") is None
