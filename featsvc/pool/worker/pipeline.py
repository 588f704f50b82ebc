"""A worker's stages, a thread each: models are loaded, the next batch is prepared, and one computes."""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from functools import partial
from typing import ParamSpec, Protocol, assert_never

from featsvc.errors import Abandoned, FeatsvcError, OutOfMemory, is_out_of_memory
from featsvc.pool.contract.engine_protocol import EngineCacheStats, EngineModel, WorkerEngines
from featsvc.pool.contract.messages import (
    BatchItem,
    Boot,
    Cancel,
    FromWorker,
    GoesOn,
    ItemTiming,
    Load,
    LoadReply,
    Outcome,
    Ping,
    Pong,
    RunBatch,
    Unload,
    Unread,
    WorkerCaches,
    WorkerReady,
    no_room,
)
from featsvc.pool.contract.status import CacheStatus
from featsvc.pool.worker.compute import Compute, PreparedItem, Work
from featsvc.pool.worker.failures import for_caller, without_frames
from featsvc.pool.worker.gpu_news import GpuNews
from featsvc.pool.worker.model_cache import ModelCache, model_bytes
from featsvc.pool.worker.pauses import WorkQueue

log = logging.getLogger("featsvc.pool.worker.pipeline")
P = ParamSpec("P")
Held = dict[str, EngineModel]
"""The models of a batch by name, pinned for it; empty where they are not."""


class Send(Protocol):
    """Posts messages to the pool, in one go."""

    def __call__(self, *messages: FromWorker) -> None: ...


QUICK_PREPARE_S = 0.001
PRELOAD_PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # before a further try, where a GPU has no memory for a model
SLOW_THREADS = 2  # wait for items that take long to prepare, while others go on


class Pipeline:
    """All work of a worker. `put` takes messages from any thread."""

    def __init__(self, engines: WorkerEngines, boot: Boot, send: Send) -> None:
        self._engines = engines
        self._boot = boot
        self._send = send
        self._models = ModelCache(
            engines,
            model_bytes(boot, engines.device()),
            boot.max_models,
            boot.preload,
            lambda models: send(models),
        )
        self._caches: tuple[CacheStatus, ...] = ()
        self.queue: WorkQueue[Work] = WorkQueue()
        self._compute = Compute(engines, boot.max_batch_pixels, boot.regrow_after_s, self)
        self._inbox: queue.SimpleQueue[RunBatch | Load | Unload] = queue.SimpleQueue()
        # Items in flight that nobody has cancelled, and when they are too late by this process's clock.
        self._deadlines: dict[int, float] = {}
        self._slow = ThreadPoolExecutor(SLOW_THREADS, thread_name_prefix="slow")

    def put(self, message: RunBatch | Unread | Cancel | Load | Unload | Ping) -> None:
        """Take a message; what needs no work acts at once, the rest in its turn."""
        match message:
            case Cancel():
                self._deadlines.pop(message.item, None)
            case Ping():
                self._send(Pong())
            case Unread():
                self._answer(*(Outcome(item, error=no_room()) for item in message.items))
            case RunBatch():
                now = time.monotonic()
                for item in message.items:
                    self._deadlines[item.id] = math.inf if item.left_s is None else now + item.left_s
                self._inbox.put(message)
            case _:
                self._inbox.put(message)

    def run(self) -> None:
        """Preload, then compute for ever, in this thread."""
        for model in self._boot.preload:
            self._preload(model)
        gpu = GpuNews(self._engines)
        self._send(*self._news(), *gpu.first, WorkerReady(self._engines.precision))
        threading.Thread(target=_or_end, args=(self._prepare_all,), name="prepare", daemon=True).start()
        if gpu.first:
            threading.Thread(target=_or_end, args=(gpu.tell, self._send), name="gpu", daemon=True).start()
        while True:
            work = self.queue.take()
            self._compute.run(work)
            del work  # its arrays must not wait for the next batch

    def _preload(self, model: str) -> None:
        """Load a model if that can be done; who asks for it otherwise is told why it is not there.

        A GPU may be full because the driver still clears up after the worker that was here before.
        """
        for pause_s in PRELOAD_PAUSES_S if self._engines.device() else ():
            try:
                with self._models.using(model):
                    return
            except OutOfMemory:
                time.sleep(pause_s)
            except FeatsvcError:
                return
        with suppress(FeatsvcError), self._models.using(model):
            pass

    def _news(self) -> tuple[WorkerCaches, ...]:
        """How the engines' caches are, if they have changed; for the thread that computes."""
        caches = tuple(_cache_status(stats) for stats in self._engines.caches())
        if caches == self._caches:
            return ()
        self._caches = caches
        return (WorkerCaches(caches),)

    def _prepare_all(self) -> None:
        with (
            ThreadPoolExecutor(self._boot.prepare_threads, thread_name_prefix="prepare") as threads,
            ThreadPoolExecutor(self._boot.prepared_at_once, thread_name_prefix="ahead") as ahead,
            ThreadPoolExecutor(1, thread_name_prefix="load") as loader,
        ):
            while True:
                message = self._inbox.get()
                match message:
                    case RunBatch() | Load() if self._is_put_off(message):
                        pass
                    case RunBatch():
                        self._begin(message, threads, ahead, loader)
                    case Load():
                        loader.submit(_or_end, self._load, message)
                    case Unload():
                        self._unload(message)
                    case _:
                        assert_never(message)
                del message

    def _is_put_off(self, message: RunBatch | Load) -> bool:
        """Whether a model of it is going: then it comes again after that, and others need not wait for it."""
        models, again = message.models, partial(self._inbox.put, message)
        if not any(self._models.is_going(model, again) for model in models):
            return False
        if isinstance(message, RunBatch):
            self.goes_on(message.id, computes=False)
        return True

    def _load(self, message: Load) -> None:
        try:
            with self._models.using(message.model):
                reply = LoadReply(message.call)
        except FeatsvcError as error:
            reply = LoadReply(message.call, error=without_frames(error))
        self._send(reply)

    def _unload(self, message: Unload) -> None:
        done = self._models.unload(message.model, partial(self._inbox.put, message))
        if done is not None:
            self._send(LoadReply(message.call, done=done))

    def _begin(self, batch: RunBatch, threads: Executor, ahead: Executor, loader: Executor) -> None:
        held = self._models.pin(*batch.models)
        # A load, perhaps with a download, must not hold up batches whose models are here.
        if not held:
            loader.submit(_or_end, self._prepare, batch, held, threads)
        elif self._boot.prepared_at_once == 1:
            self._prepare(batch, held, threads)
        # One after the other they would feed no fast device: each begins with an item in one thread.
        else:
            ahead.submit(_or_end, self._prepare, batch, held, threads)

    def _prepare(self, batch: RunBatch, held: Held, threads: Executor) -> None:
        wanted = []
        for item in batch.items:
            if self._still_wanted(item):
                if self._may_take_long(item):
                    self.goes_on(batch.id, computes=False)
                    self._slow.submit(_or_end, self._prepare_items, batch, {}, [item], threads)
                else:
                    wanted.append(item)
        self._prepare_items(batch, held, wanted, threads)

    def _may_take_long(self, item: BatchItem) -> bool:
        try:
            return self._engines.may_take_long(item.item)
        except Exception:  # whatever is wrong with it, preparing it tells its caller
            return False

    def _prepare_items(self, batch: RunBatch, held: Held, items: list[BatchItem], threads: Executor) -> None:
        """Those of a batch that are still wanted; one whose turn it is only now may not be.

        `held` are its models, pinned for these items; without them they are acquired, and loaded if need be.
        """
        wanted = [item for item in items if self._still_wanted(item)]
        if not wanted:
            self._models.release(*held)
            return
        try:
            # Never for a batch that holds some already: a load may wait for just that.
            held = held or self._models.acquire_together(batch.models)
        except FeatsvcError as error:
            for item in wanted:
                self._answer(Outcome(item.id, error=error))
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
        ready += threads.map(prepared, rest)
        self.queue.put(Work(batch, loaded, [item for item in ready if item]))

    def _prepared_item(self, batch: RunBatch, item: BatchItem, loaded: EngineModel) -> PreparedItem | None:
        if not self._still_wanted(item):
            return None
        engines, began_at = self._engines, time.monotonic()
        try:
            wanted = partial(self.is_wanted, item)
            value = engines.prepare(batch.operation, item.item, batch.params, loaded, wanted)
            key, pixels = engines.batch_key(value), max(1, engines.pixels(value))
            return PreparedItem(item, value, key, pixels, engines.flop(value), began_at)
        except Abandoned:
            timing = ItemTiming.of_unanswered(time.monotonic() - began_at)
            self._answer(Outcome(item.id, skipped=True, timing=timing))
            return None
        except Exception as error:  # decoders raise anything; the worker must live on
            if is_out_of_memory(error):
                error = OutOfMemory(f"{batch.operation}: no memory for this request; try a smaller picture")
            reason = for_caller(error, item.request_id, batch.operation)
            timing = ItemTiming.of_unanswered(time.monotonic() - began_at)
            self._answer(Outcome(item.id, error=reason, timing=timing))
            return None

    def make_room(self) -> bool:
        """Send away models that no batch uses; whether there were any."""
        return self._models.drop_idle()

    def done_with(self, work: Work) -> None:
        """The models of answered work may go; for the thread that computes."""
        self._models.release(*work.batch.models)

    def goes_on(self, batch: int, computes: bool, takes_s: float = 0.0) -> None:
        """Tell the pool that a batch works or waits without holding up short ones, and whether it is computed."""
        self._send(GoesOn(batch, computes, takes_s))

    def is_wanted(self, item: BatchItem) -> bool:
        return time.monotonic() < self._deadlines.get(item.id, -math.inf)

    def _still_wanted(self, item: BatchItem) -> bool:
        """Whether to go on with an item; one that nobody waits for is answered as skipped."""
        if self.is_wanted(item):
            return True
        self._answer(Outcome(item.id, skipped=True))
        return False

    def _answer(self, *outcomes: Outcome, news: tuple[WorkerCaches, ...] = ()) -> None:
        for each in outcomes:
            self._deadlines.pop(each.item, None)
            if each.error is not None:
                without_frames(each.error)
        self._send(*news, *outcomes)

    def answer_computed(self, *outcomes: Outcome) -> None:
        """Answer what was computed; for the thread that computes."""
        # The news first, so that who has an answer finds what it did to the caches.
        self._answer(*outcomes, news=self._news())


def _cache_status(stats: EngineCacheStats) -> CacheStatus:
    return CacheStatus(**{field.name: getattr(stats, field.name) for field in fields(CacheStatus)})


def _or_end(act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """What a thread would swallow ends the worker instead: the pool then retries its items elsewhere."""
    try:
        act(*args, **kwargs)
    except BaseException:  # a defect of this module, whatever it is
        log.exception("a thread of the worker failed: the worker ends")
        os._exit(1)
