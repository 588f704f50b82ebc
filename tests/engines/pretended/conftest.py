"""Workers on pretended GPUs, made once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from featsvc.settings.kinds import Precision
from tests.engines.pretended.worker import PretendedWorker

Workers = Callable[[Precision], PretendedWorker]


@pytest.fixture(scope="package")
def workers() -> Workers:
    """The worker of a precision."""
    return cache(lambda precision: PretendedWorker(precision=precision))


@pytest.fixture(scope="package")
def worker(workers: Workers) -> PretendedWorker:
    """The worker that computes in float32."""
    return workers("fp32")


@pytest.fixture(scope="package")
def own() -> PretendedWorker:
    """A worker of tests that change its memory."""
    return PretendedWorker()


@pytest.fixture
def small(own: PretendedWorker) -> PretendedWorker:
    """The same, which keeps nothing yet and has room."""
    own.cuda.capacity = None
    for each in own.engines.kept:
        each.clear()
    own.cuda.peak.clear()
    return own
