"""A GPU's memory: it runs out with an error that leaves nothing behind, and what is kept gives way to a question."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from featsvc.engines.running.cache import CacheStats
from featsvc.engines.running.family import Prepared
from featsvc.engines.running.turns import TURNS
from featsvc.errors import OutOfMemory
from featsvc.pool.contract.messages import (
    BatchItem,
    Boot,
    FromWorker,
    Load,
    Outcome,
    RunBatch,
    Unload,
    WorkerModels,
)
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.worker import budget
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.v1 import schema as S
from featsvc.work.item import Item, PictureItem
from featsvc.work.operations import EXTRACT_DINO
from featsvc.work.results import Result
from tests.engines import models
from tests.engines.pretended.cases import CASES, FAMILIES, asked
from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.worker import DEVICE, PretendedWorker

KIB = 1 << 10
PATIENCE_S = 60.0
DINO = S.DinoExtractFeaturesParams(load_size=28)


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
    for family in FAMILIES:
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


class Counting:
    """The engines, and how many items each pass had."""

    def __init__(self, worker: PretendedWorker) -> None:
        self._engines, self._cuda = worker.engines, worker.cuda
        self.passes: list[int] = []

    def __getattr__(self, name: str) -> Any:  # Any: whatever the engines have
        return getattr(self._engines, name)

    def prepare(self, *others: Any) -> Prepared:
        """As the engines, in any thread."""
        with self._cuda.at_work():
            return self._engines.prepare(*others)

    def run(self, operation: str, prepared: list[Prepared], *others: Any) -> Sequence[Result]:
        """As the engines."""
        self.passes.append(len(prepared))
        return self._engines.run(operation, prepared, *others)


class Process:
    """A worker's process without its threads: its pipeline, and what it says to the pool."""

    def __init__(self, worker: PretendedWorker) -> None:
        self.said: list[FromWorker] = []
        self._answered = threading.Semaphore(0)
        self.models: set[str] = set()
        """What it has in memory, as it said last."""
        self._worker = worker
        self._counting = Counting(worker)
        engines: Any = self._counting  # Any: it passes most on
        with worker.at_work():
            self._pipeline = Pipeline(engines, Boot.of(0, DEVICE, PoolSettings()), self._hear)

    @property
    def passes(self) -> list[int]:
        """How many items each pass had, for the last answers."""
        return self._counting.passes

    def answers(self, *items: Item) -> list[Outcome]:
        """What it says of a batch of questions to DINO."""
        self.said.clear()
        self.passes.clear()
        batch = RunBatch(
            1,
            EXTRACT_DINO.rpc,
            "demo-dino",
            DINO,
            tuple(BatchItem(n, "", each, None) for n, each in enumerate(items)),
        )
        self._pipeline.put(batch)
        with self._worker.at_work():
            self._pipeline._preparation._prepare(batch, {})
            self._pipeline._compute.run(self._pipeline.queue.take())
            for _ in items:
                assert self._answered.acquire(timeout=PATIENCE_S), "another thread writes them"
        return [each for each in self.said if isinstance(each, Outcome)]

    def load(self, model: str) -> None:
        with self._worker.at_work():
            self._pipeline._load(Load(1, model))

    def unload(self, model: str) -> None:
        with self._worker.at_work():
            self._pipeline._unload(Unload(1, model))

    def _hear(self, *messages: FromWorker) -> None:
        self.said += messages
        for each in messages:
            if isinstance(each, Outcome):
                self._answered.release()
            if isinstance(each, WorkerModels):
                self.models = {model.name for model in each.models}


@pytest.fixture
def process(small: PretendedWorker) -> Process:
    """A process on this device, which has no model yet."""
    return Process(small)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the clock shows to the budget of a pass, in `s`."""
    clock = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: clock.s))
    return clock


def test_a_device_without_room_for_sixteen_settles_at_eight_and_seldom_tries_more(
    process: Process, small: PretendedWorker, now: SimpleNamespace
) -> None:
    pictures = [PictureItem(models.encoded(models.picture(28, 28, each))) for each in range(16)]
    patience = PoolSettings().regrow_after_s

    def passes() -> list[int]:
        outcomes = process.answers(*pictures)
        assert len(outcomes) == 16
        assert all(each.result is not None for each in outcomes)
        return process.passes

    process.load("demo-dino")
    small.cuda.peak.clear()  # of models, which are loaded warm
    process.answers(*pictures[:8])
    held = small.cuda.live[DEVICE]
    small.cuda.capacity = held + (small.cuda.peak[DEVICE] - held) * 3 // 2
    assert passes() == [16, 8, 8]
    assert passes() == [8, 8]
    now.s += patience
    assert passes() == [16, 8, 8], "one try, and what follows knows"
    now.s += patience
    assert passes() == [8, 8], "the next try is later"
    now.s += patience
    small.cuda.capacity = None
    assert passes() == [16]
    assert passes() == [16]


def test_a_question_that_lacks_memory_sends_idle_models_away_and_not_its_own(
    process: Process, small: PretendedWorker
) -> None:
    process.load("demo-dino")
    process.answers(PictureItem(models.encoded(models.picture(60, 40))))
    process.load("demo-sam2")
    assert process.models == {"demo-dino", "demo-sam2"}
    small.cuda.capacity = small.cuda.live[DEVICE] + 1
    (outcome,) = process.answers(PictureItem(models.encoded(models.picture(60, 40))))
    assert outcome.result is not None
    assert process.models == {"demo-dino"}
    small.cuda.capacity = small.cuda.live[DEVICE] + 1
    (outcome,) = process.answers(PictureItem(models.encoded(models.picture(60, 40))))
    assert isinstance(outcome.error, OutOfMemory), "nothing is left to send away"


def test_a_model_that_is_unloaded_gives_its_memory_back_to_the_card(
    process: Process, small: PretendedWorker
) -> None:
    process.load("demo-sam2")
    process.unload("demo-sam2")
    assert small.cuda.reserved[DEVICE] == small.cuda.live[DEVICE]


def test_texts_are_not_forgotten_for_want_of_memory_on_the_device(small: PretendedWorker) -> None:
    texts = next(each for each in small.engines.kept if each.is_on_host)
    small.answers(CASES["clip texts"])
    small.answers(asked(S.EmbedImageParams(), pictures=1))
    small.cuda.capacity = small.cuda.live[DEVICE]
    small.answers(CASES["dino grid"])
    assert embeddings(small).entries == 0
    assert texts.stats().entries > 0


def test_pinned_memory_goes_back_for_a_gpu_alone_and_after_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()
    # As private as it is: a torch that has renamed it would keep all without a word.
    monkeypatch.setattr(torch._C, "_host_emptyCache", gone.set)
    models.engines().trim()
    assert not gone.is_set(), "no GPU"
    cuda = PretendCuda()
    with cuda.installed(), cuda.at_work(), ThreadPoolExecutor(1) as other:
        engines = models.engines(device=DEVICE)
        with TURNS.capturing():
            trimmed = other.submit(engines.trim)
            # Can only come too late to be seen.
            assert not wait([trimmed], 0.02).done
            assert not gone.is_set()
        trimmed.result(PATIENCE_S)
        assert gone.is_set()
        monkeypatch.delattr(torch._C, "_host_emptyCache")
        engines.trim()
