"""Batches on their way to the device: their models pinned or loaded, their items decoded, in threads of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from featsvc.errors import Abandoned, FeatsvcError, OutOfMemory, is_out_of_memory
from featsvc.pool.contract.engine_protocol import EngineModel, WorkerEngines
from featsvc.pool.contract.messages import BatchItem, Boot, GoesOn, ItemTiming, Outcome, RunBatch
from featsvc.pool.worker.failures import for_caller, or_end
from featsvc.pool.worker.model_cache import ModelCache
from featsvc.pool.worker.pauses import WorkQueue
from featsvc.pool.worker.work import PreparedItem, Work

Held = dict[str, EngineModel]
"""The models of a batch by name, pinned for it; empty where they are not."""

QUICK_PREPARE_S = 0.001
SLOW_THREADS = 2  # wait for items that take long to prepare, while others go on


class PrepareHost(Protocol):
    """Who gives batches, and takes what is ready, or the answers of what is not."""

    queue: WorkQueue[Work]

    def answer(self, *outcomes: Outcome) -> None:
        """Takes answers, in one go."""

    def is_wanted(self, item: BatchItem) -> bool:
        """Whether somebody waits for an item."""

    def still_wanted(self, item: BatchItem) -> bool:
        """The same; one that nobody waits for is answered as skipped."""

    def tell(self, message: GoesOn) -> None:
        """Hears that a batch waits without holding up short ones."""


class Preparation:
    """Prepares batches; any thread may begin one."""

    def __init__(self, engines: WorkerEngines, models: ModelCache, boot: Boot, host: PrepareHost) -> None:
        self._engines = engines
        self._models = models
        self._host = host
        self._slow = ThreadPoolExecutor(SLOW_THREADS, thread_name_prefix="slow")
        self._ahead = ThreadPoolExecutor(boot.prepared_at_once, thread_name_prefix="ahead")
        self._items = ThreadPoolExecutor(boot.prepare_threads, thread_name_prefix="prepare")
        # Its own, or what goes first would wait for a flood's pictures.
        self._first = ThreadPoolExecutor(boot.prepared_at_once, thread_name_prefix="first")
        self._first_items = ThreadPoolExecutor(boot.prepare_threads, thread_name_prefix="first-item")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")

    def load(self, act: Callable[[], None]) -> None:
        """Has the thread that loads models do this in its turn."""
        self._loader.submit(or_end, act)

    def first(self, act: Callable[[], None]) -> None:
        """Has a thread of those for what goes first do this in its turn."""
        self._first.submit(or_end, act)

    def begin(self, batch: RunBatch, at_once: bool) -> None:
        """Prepare a batch, in this thread if `at_once` says so and its models are here."""
        held = self._models.pin(*batch.models)
        # A load, perhaps with a download, must not hold up batches whose models are here.
        if not held:
            self._loader.submit(or_end, self._prepare, batch, held)
        elif at_once:
            self._prepare(batch, held)
        # One after the other they would feed no fast device: each begins with an item in one thread.
        else:
            self._ahead.submit(or_end, self._prepare, batch, held)

    def _prepare(self, batch: RunBatch, held: Held) -> None:
        wanted = []
        for item in batch.items:
            if self._host.still_wanted(item):
                if self._may_take_long(item):
                    self._host.tell(GoesOn(batch.id, computes=False))
                    self._slow.submit(or_end, self._prepare_items, batch, {}, [item])
                else:
                    wanted.append(item)
        self._prepare_items(batch, held, wanted)

    def _may_take_long(self, item: BatchItem) -> bool:
        try:
            return self._engines.may_take_long(item.item)
        except Exception:  # whatever is wrong with it, preparing it tells its caller
            return False

    def _prepare_items(self, batch: RunBatch, held: Held, items: list[BatchItem]) -> None:
        """Those of a batch that are still wanted; one whose turn it is only now may not be.

        `held` are its models, pinned for these items; without them they are acquired, and loaded if need be.
        """
        wanted = [item for item in items if self._host.still_wanted(item)]
        if not wanted:
            self._models.release(*held)
            return
        try:
            # Never for a batch that holds some already: a load may wait for just that.
            held = held or self._models.acquire_together(batch.models)
        except FeatsvcError as error:
            for item in wanted:
                self._host.answer(Outcome(item.id, error=error))
            return
        loaded = held[batch.model]
        if batch.also:
            loaded = self._engines.together([held[model] for model in (batch.model, *batch.also)])

        def prepared(item: BatchItem) -> PreparedItem | None:
            return self._prepared_item(batch, item, loaded)

        ready, rest = list[PreparedItem | None](), iter(wanted)
        # Handing a small item to another thread takes longer than to prepare it.
        for item in rest:
            began = time.monotonic()
            ready.append(prepared(item))
            if time.monotonic() - began > QUICK_PREPARE_S:
                break
        ready += (self._first_items if batch.goes_first else self._items).map(prepared, rest)
        self._host.queue.put(Work(batch, loaded, [item for item in ready if item]), batch.goes_first)

    def _prepared_item(self, batch: RunBatch, item: BatchItem, loaded: EngineModel) -> PreparedItem | None:
        if not self._host.still_wanted(item):
            return None
        engines, began_at = self._engines, time.monotonic()
        try:
            wanted = partial(self._host.is_wanted, item)
            value = engines.prepare(batch.operation, item.item, batch.params, loaded, wanted)
            key, pixels = engines.batch_key(value), max(1, engines.pixels(value))
            return PreparedItem(item, value, key, pixels, engines.flop(value), began_at)
        except Abandoned:
            timing = ItemTiming.of_unanswered(time.monotonic() - began_at)
            self._host.answer(Outcome(item.id, skipped=True, timing=timing))
            return None
        except Exception as error:  # decoders raise anything; the worker must live on
            if is_out_of_memory(error):
                error = OutOfMemory(f"{batch.operation}: no memory for this request; try a smaller picture")
            reason = for_caller(error, item.request_id, batch.operation)
            timing = ItemTiming.of_unanswered(time.monotonic() - began_at)
            self._host.answer(Outcome(item.id, error=reason, timing=timing))
            return None
