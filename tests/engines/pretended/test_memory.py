"""A GPU's memory: it runs out with an error that leaves nothing behind, and what is kept gives way to a question."""

from __future__ import annotations

import pytest

from featsvc.engines.running.cache import CacheStats
from featsvc.errors import OutOfMemory
from featsvc.v1 import schema as S
from tests.engines.pretended.cases import CASES, asked
from tests.engines.pretended.worker import DEVICE, PretendedWorker

KIB = 1 << 10


@pytest.fixture(scope="module")
def own() -> PretendedWorker:
    """A worker of these tests, which change its memory."""
    return PretendedWorker()


@pytest.fixture
def small(own: PretendedWorker) -> PretendedWorker:
    """The same, which keeps nothing yet and has room."""
    own.cuda.capacity = None
    for cache in own.engines.kept:
        cache.clear()
    return own


def embeddings(worker: PretendedWorker) -> CacheStats:
    """What is kept of pictures."""
    return next(each for each in worker.engines.caches() if each.name == "sam2_embeddings")


@pytest.mark.parametrize("name", ["clip several", "dino several", "sam2 masks"])
def test_a_question_that_does_not_fit_is_refused_and_leaves_nothing_behind(
    small: PretendedWorker, name: str
) -> None:
    held = small.cuda.live[DEVICE]
    small.cuda.capacity = held + 64 * KIB
    with pytest.raises(OutOfMemory, match=f"{DEVICE} has no memory"):
        small.answers(CASES[name])
    assert small.cuda.live[DEVICE] == held
    small.cuda.capacity = None
    assert small.answers(CASES[name])


def test_a_model_that_does_not_fit_is_refused_and_leaves_nothing_behind(small: PretendedWorker) -> None:
    held = small.cuda.live[DEVICE]
    small.cuda.capacity = held + 256 * KIB
    for family in small.loaded:
        with small.at_work(), pytest.raises(OutOfMemory, match=f"demo-{family} does not fit"):
            small.engines.load(f"demo-{family}")
        assert small.cuda.live[DEVICE] == held


def test_embeddings_are_on_the_device_and_give_way_to_a_question(small: PretendedWorker) -> None:
    held = small.cuda.live[DEVICE]
    small.answers(asked(S.EmbedImageParams(), pictures=3))
    assert small.cuda.live[DEVICE] - held == embeddings(small).nbytes > 0
    small.cuda.capacity = small.cuda.live[DEVICE]
    small.answers(CASES["dino grid"])
    assert embeddings(small).entries == 0
    assert small.cuda.live[DEVICE] == held


@pytest.mark.parametrize("family", ["clip", "dino", "sam2"])
def test_a_model_takes_the_memory_that_it_tells(small: PretendedWorker, family: str) -> None:
    before = small.cuda.live[DEVICE]
    with small.at_work():
        loaded = small.engines.load(f"demo-{family}")
    assert small.cuda.live[DEVICE] - before == loaded.nbytes
