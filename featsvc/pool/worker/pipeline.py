"""A worker's stages, a thread each: models are loaded, the next batch is prepared, and one computes."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import ParamSpec, Protocol, assert_never

from featsvc.errors import FeatsvcError
from featsvc.pool.engine_protocol import CacheStats, Engines, Loaded
from featsvc.pool.messages import (
    Boot,
    Caches,
    Cancel,
    Cargo,
    FromWorker,
    Load,
    Models,
    Outcome,
    Ready,
    Reply,
    RunBatch,
    Unload,
)
from featsvc.pool.status import CacheStatus
from featsvc.pool.worker.compute import Compute, Prepared, Work
from featsvc.pool.worker.failures import for_caller
from featsvc.pool.worker.model_cache import ModelCache

log = logging.getLogger("featsvc.pool.worker.pipeline")
P = ParamSpec("P")


class Send(Protocol):
    """Posts messages to the pool, in one go."""

    def __call__(self, *messages: FromWorker) -> None: ...


QUICK_S = 0.001


class Pipeline:
    """All work of a worker. `put` takes messages from any thread."""

    def __init__(self, engines: Engines, boot: Boot, send: Send) -> None:
        self._engines = engines
        self._boot = boot
        self._send = send
        self._models = ModelCache(
            engines, boot.model_memory_bytes, boot.max_models, lambda models: send(Models(models))
        )
        self._caches: tuple[CacheStatus, ...] = ()
        self._compute = Compute(engines, boot.max_batch_pixels, self._answer_computed, self._is_wanted)
        self._inbox: queue.SimpleQueue[RunBatch | Load | Unload] = queue.SimpleQueue()
        self._prepared: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._wanted: set[int] = set()  # items on board that nobody has cancelled

    def put(self, message: RunBatch | Cancel | Load | Unload) -> None:
        """Take a message; a cancellation acts at once, the rest in its turn."""
        if isinstance(message, Cancel):
            self._wanted.discard(message.item)
            return
        if isinstance(message, RunBatch):
            self._wanted.update(cargo.id for cargo in message.items)
        self._inbox.put(message)

    def run(self) -> None:
        """Preload, then compute for ever, in this thread."""
        failed = tuple(model for model in self._boot.preload if not self._preload(model))
        self._send(*self._news(), Ready(failed))
        threading.Thread(target=self._prepare_all, name="prepare", daemon=True).start()
        while True:
            work = self._prepared.get()
            self._compute.run(work)
            self._models.release(work.batch.model)
            del work  # its arrays must not wait for the next batch

    def _news(self) -> tuple[Caches, ...]:
        """How the engines' caches are, if they have changed; for the thread that computes."""
        caches = tuple(_status(stats) for stats in self._engines.caches())
        if caches == self._caches:
            return ()
        self._caches = caches
        return (Caches(caches),)

    def _preload(self, model: str) -> bool:
        try:
            with self._models.using(model):
                return True
        except FeatsvcError as error:
            log.error("cannot preload %s: %s", model, error)
            return False

    def _prepare_all(self) -> None:
        with (
            ThreadPoolExecutor(self._boot.prepare_threads, thread_name_prefix="prepare") as threads,
            ThreadPoolExecutor(1, thread_name_prefix="load") as loader,
        ):
            while True:
                message = self._inbox.get()
                match message:
                    # A load, perhaps with a download, must not hold up batches whose model is here.
                    case RunBatch() if not self._models.holds(message.model):
                        loader.submit(_or_end, self._prepare, message, threads)
                    case RunBatch():
                        self._prepare(message, threads)
                    case Load():
                        loader.submit(_or_end, self._reply, message)
                    case Unload():
                        self._reply(message)
                    case _:
                        assert_never(message)
                del message

    def _reply(self, message: Load | Unload) -> None:
        try:
            if isinstance(message, Unload):
                reply = Reply(message.call, done=self._models.unload(message.model))
            else:
                with self._models.using(message.model):
                    reply = Reply(message.call)
        except FeatsvcError as error:
            reply = Reply(message.call, error=error)
        self._send(reply)

    def _prepare(self, batch: RunBatch, threads: ThreadPoolExecutor) -> None:
        wanted = [cargo for cargo in batch.items if self._still_wanted(cargo)]
        if not wanted:
            return
        try:
            loaded = self._models.acquire(batch.model)
        except FeatsvcError as error:
            for cargo in wanted:
                self._answer(Outcome(cargo.id, error=error))
            return

        def prepared(cargo: Cargo) -> Prepared | None:
            return self._prepared_item(batch, cargo, loaded)

        items, rest = [], iter(wanted)
        # Handing a small item to another thread takes longer than to prepare it.
        for cargo in rest:
            began = time.monotonic()
            items.append(prepared(cargo))
            if time.monotonic() - began > QUICK_S:
                break
        items += threads.map(prepared, rest)
        self._prepared.put(Work(batch, loaded, [item for item in items if item]))

    def _prepared_item(self, batch: RunBatch, cargo: Cargo, loaded: Loaded) -> Prepared | None:
        if not self._still_wanted(cargo):
            return None
        engines = self._engines
        try:
            value = engines.prepare(batch.operation, cargo.item, batch.params, loaded)
            return Prepared(cargo, value, engines.batch_key(value), max(1, engines.pixels(value)))
        except Exception as error:  # decoders raise anything; the worker must live on
            reason = for_caller(error, cargo.request_id, batch.operation)
            self._answer(Outcome(cargo.id, error=reason))
            return None

    def _is_wanted(self, cargo: Cargo) -> bool:
        late = cargo.deadline is not None and time.monotonic() >= cargo.deadline
        return cargo.id in self._wanted and not late

    def _still_wanted(self, cargo: Cargo) -> bool:
        """Whether to go on with an item; one that nobody waits for is answered as skipped."""
        if self._is_wanted(cargo):
            return True
        self._answer(Outcome(cargo.id, skipped=True))
        return False

    def _answer(self, *outcomes: Outcome, news: tuple[Caches, ...] = ()) -> None:
        self._wanted.difference_update(each.item for each in outcomes)
        self._send(*news, *outcomes)

    def _answer_computed(self, *outcomes: Outcome) -> None:
        # The news first, so that who has an answer finds what it did to the caches.
        self._answer(*outcomes, news=self._news())


def _status(stats: CacheStats) -> CacheStatus:
    return CacheStatus(**{field.name: getattr(stats, field.name) for field in fields(CacheStatus)})


def _or_end(act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """What an executor would swallow ends the worker instead: the pool then retries its items elsewhere."""
    try:
        act(*args, **kwargs)
    except BaseException:  # a defect of this module, whatever it is
        log.exception("the loader failed")
        os._exit(1)
