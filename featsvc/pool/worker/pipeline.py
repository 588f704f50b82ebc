"""A worker's stages, a thread each: models are loaded, the next batch is prepared, and one computes."""

from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import suppress
from dataclasses import fields
from functools import partial
from typing import Protocol, assert_never

from featsvc.errors import FeatsvcError, OutOfMemory
from featsvc.pool.contract.engine_protocol import EngineCacheStats, WorkerEngines
from featsvc.pool.contract.messages import (
    BatchItem,
    Boot,
    Cancel,
    Computes,
    FromWorker,
    GoesOn,
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
from featsvc.pool.worker.compute import Compute
from featsvc.pool.worker.failures import or_end, without_frames
from featsvc.pool.worker.freed_memory import give_back
from featsvc.pool.worker.gpu_news import GpuNews
from featsvc.pool.worker.model_cache import ModelCache, model_bytes
from featsvc.pool.worker.open_items import OpenItems
from featsvc.pool.worker.pauses import WorkQueue
from featsvc.pool.worker.preparing import Preparation
from featsvc.pool.worker.work import ComputedPass, Work
from featsvc.pool.worker.writing import Writing
from featsvc.work.coming import Coming

log = logging.getLogger("featsvc.pool.worker.pipeline")


class Send(Protocol):
    """Posts messages to the pool, in one go."""

    def __call__(self, *messages: FromWorker) -> None: ...


PRELOAD_PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # before a further try, where a GPU has no memory for a model


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
        self._writing = Writing(self.answer, self.is_wanted)
        self._compute = Compute(engines, boot.max_batch_pixels, boot.regrow_after_s, self)
        self._inbox: queue.SimpleQueue[RunBatch | Load | Unload] = queue.SimpleQueue()
        self._open = OpenItems()
        self._preparation = Preparation(engines, self._models, boot, self)

    def put(self, message: RunBatch | Unread | Cancel | Load | Unload | Ping) -> None:
        """Take a message; what needs no work acts at once, the rest in its turn."""
        match message:
            case Cancel():
                self._open.cancel(message.item)
            case Ping():
                self._send(Pong())
            case Unread():
                self.answer(*(Outcome(item, error=no_room()) for item in message.items))
            case RunBatch():
                self._open.add(message)
                if message.goes_first:
                    self._preparation.first(partial(self._prepare_first, message))
                else:
                    self._inbox.put(message)
            case Load() | Unload():
                self._open.count += 1
                self._inbox.put(message)
            case _:
                assert_never(message)

    def run(self) -> None:
        """Preload, then compute for ever, in this thread."""
        for model in self._boot.preload:
            self._preload(model)
        gpu = GpuNews(self._engines)
        self._send(*self._news(), *gpu.first, WorkerReady(self._engines.precision))
        threading.Thread(target=or_end, args=(self._prepare_all,), name="prepare", daemon=True).start()
        if gpu.first:
            threading.Thread(target=or_end, args=(gpu.tell, self._send), name="gpu", daemon=True).start()
        if after_s := self._boot.give_back_after_s:
            args = (give_back, self._open, self._engines.trim, after_s)
            threading.Thread(target=or_end, args=args, name="memory", daemon=True).start()
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
        while True:
            message = self._inbox.get()
            match message:
                case RunBatch() | Load() if self._is_put_off(message):
                    pass
                case RunBatch():
                    self._preparation.begin(message, at_once=self._boot.prepared_at_once == 1)
                case Load():
                    self._preparation.load(partial(self._load, message))
                case Unload():
                    self._unload(message)
                case _:
                    assert_never(message)
            del message

    def _prepare_first(self, batch: RunBatch) -> None:
        """What goes first waits for others of its kind; and as all do for decoders, and for models to come or go."""
        if not self._is_put_off(batch):
            self._preparation.begin(batch, at_once=True)

    def _is_put_off(self, message: RunBatch | Load) -> bool:
        """Whether a model of it is going: then it comes again after that, and others need not wait for it."""
        # Behind what drops the model, which is put there before it.
        models, again = message.models, partial(self._inbox.put, message)
        if not any(self._models.is_going(model, again) for model in models):
            return False
        if isinstance(message, RunBatch):
            self.tell(GoesOn(message.id, computes=False))
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

    def make_room(self) -> bool:
        """Send away models that no batch uses; whether there were any."""
        return self._models.drop_idle()

    def finish_writing(self) -> bool:
        """Wait until all that was computed is written; whether any was not. For the thread that computes."""
        return self._writing.finish()

    def done_with(self, work: Work) -> None:
        """The models of answered work may go; for the thread that computes."""
        self._models.release(*work.batch.models)

    def is_presumed(self, batch: int) -> bool:
        """Whether the pool takes this batch for the one that computes; for the thread that computes."""
        return self._open.is_presumed(batch)

    def tell(self, message: GoesOn | Computes) -> None:
        """Tell the pool that a batch works or waits without holding up short ones, or which one computes."""
        self._send(message)

    def is_wanted(self, item: BatchItem) -> bool:
        return self._open.is_wanted(item)

    def still_wanted(self, item: BatchItem) -> bool:
        """Whether to go on with an item; one that nobody waits for is answered as skipped."""
        if self.is_wanted(item):
            return True
        self.answer(Outcome(item.id, skipped=True))
        return False

    def answer(self, *outcomes: Outcome, news: tuple[WorkerCaches, ...] = ()) -> None:
        for each in outcomes:
            self._open.close(each.item)
            if each.error is not None:
                without_frames(each.error)
        self._send(*news, *outcomes)

    def answer_computed(self, *outcomes: Outcome) -> None:
        """Answer what was computed; for the thread that computes."""
        # The news first, so that who has an answer finds what it did to the caches.
        self.answer(*outcomes, news=self._news())

    def answer_pass(self, answers: ComputedPass) -> None:
        """Write what a pass has computed; beside the next one where a device has it. For the thread that computes."""
        if not isinstance(answers.results, Coming):
            # Together, for each message by itself wakes the pool.
            self.answer_computed(*answers.outcomes())
            return
        if news := self._news():
            self._send(*news)
        self._writing.put(answers)


def _cache_status(stats: EngineCacheStats) -> CacheStatus:
    return CacheStatus(**{field.name: getattr(stats, field.name) for field in fields(CacheStatus)})
