"""The engines of this process, behind the pipeline of a worker, asked about several items at once."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from pydantic import BaseModel

from featsvc.engines.registry import build
from featsvc.errors import FeatsvcError
from featsvc.pool.contract.messages import BatchItem, Boot, FromWorker, Load, LoadReply, Outcome, RunBatch
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.work.item import Item
from featsvc.work.operations import AnyOperation
from featsvc.work.results import Result

log = logging.getLogger("featsvc.batch.engines")


class InProcess:
    """Decodes, groups and computes as a worker of a server does, and has no server."""

    def __init__(self, boot: Boot, most_items: int) -> None:
        options: Any = boot.engine_options
        self._most = most_items
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Outcome]] = {}
        self._loads: dict[int, Future[LoadReply]] = {}
        self._pipeline = Pipeline(build(options), boot, self._take)
        threading.Thread(target=self._compute, name="compute", daemon=True).start()

    def load(self, model: str) -> None:
        """Load a model; raises FeatsvcError where that cannot be."""
        number = next(self._numbers)
        self._loads[number] = reply = Future[LoadReply]()
        self._pipeline.put(Load(number, model))
        if error := reply.result().error:
            raise error

    def results(
        self, operation: AnyOperation, models: Sequence[str], params: BaseModel, items: Sequence[Item]
    ) -> list[Result | FeatsvcError]:
        """What comes of each item, in their order, by models that answer together; while one batch computes the next
        is prepared.
        """
        model, *also = models
        outcomes = [Future[Outcome]() for _ in items]
        for first in range(0, len(items), self._most):
            batch = []
            for item, outcome in zip(items[first : first + self._most], outcomes[first:], strict=False):
                number = next(self._numbers)
                self._waiting[number] = outcome
                batch.append(BatchItem(number, "", item, None))
            asked = RunBatch(next(self._numbers), operation.rpc, model, params, tuple(batch), tuple(also))
            self._pipeline.put(asked)
        return [_told(each.result()) for each in outcomes]

    def _compute(self) -> None:
        try:
            self._pipeline.run()
        except BaseException:  # a defect: nobody must wait for what will not come
            log.exception("the engines failed: their process ends")
            os._exit(1)

    def _take(self, *messages: FromWorker) -> None:
        for message in messages:
            match message:
                case Outcome():
                    self._waiting.pop(message.item).set_result(message)
                case LoadReply():
                    self._loads.pop(message.call).set_result(message)
                case _:
                    pass  # how its models and caches are


def _told(outcome: Outcome) -> Result | FeatsvcError:
    result: Any = outcome.result if outcome.error is None else outcome.error  # Any: opaque to the pool
    told: Result | FeatsvcError = result
    return told
