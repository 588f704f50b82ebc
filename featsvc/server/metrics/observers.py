"""What is counted while it happens: calls and questions as they end, and how late the event loop is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from featsvc.pool.contract.job import AnyJob
from featsvc.server.calls.call import Call
from featsvc.server.calls.statuses import error_type
from featsvc.server.metrics import table
from featsvc.server.metrics.figures import CallerNames, Counters, Histogram, Histograms
from featsvc.work.operations import AnyOperation

LAG_S = 0.1
"""How often the event loop is asked how late it is."""
GRPC = "grpc"
Figures: TypeAlias = tuple[Counters | Histograms, ...]


class CallFigures:
    """The observer that counts calls."""

    def __init__(self, callers: CallerNames) -> None:
        self._callers = callers
        self._durations = Histograms(table.CALL_DURATION)
        self._calls, self._bytes_in, self._bytes_out = map(
            Counters, (table.CALLS, table.REQUEST_BYTES, table.RESPONSE_BYTES)
        )
        self._known: dict[tuple[str, str, type[Exception] | None], Histogram] = {}
        self.all: Figures = (self._durations, self._calls, self._bytes_in, self._bytes_out)

    def on_start(self, call: Call) -> None:
        """Nothing is counted before the end."""

    def on_end(self, call: Call, code: str) -> None:
        """Count a call that has ended."""
        key = call.method, code, None if call.refusal is None else type(call.refusal)
        duration = self._known.get(key) or self._duration(*key)
        took_s = time.monotonic() - call.began
        duration.observe(took_s)
        if call.trace is not None:
            duration.exemplify(took_s, {"trace_id": call.trace.trace_id})
        method, caller = call.method[1:], self._callers.label(call.caller.name)
        self._calls.values[method, code, caller] += 1
        self._bytes_in.values[method, caller] += call.bytes_in
        self._bytes_out.values[method, caller] += call.bytes_out

    def _duration(self, method: str, code: str, refusal: type[Exception] | None) -> Histogram:
        error = "" if code == "OK" else error_type(refusal, code)
        found = self._known[method, code, refusal] = self._durations.of(GRPC, method[1:], code, error)
        return found


@dataclass(frozen=True, slots=True)
class _Parts:
    """The histograms of one operation and model."""

    queue: Histogram
    wait: Histogram
    decode: Histogram
    compute: Histogram
    size: Histogram
    fill: Histogram
    most_items: int


class JobFigures:
    """The observer that counts questions, and what they have taken."""

    def __init__(self, callers: CallerNames, most_items: Callable[[int], int]) -> None:
        self._callers = callers
        self._most_items = most_items
        self._questions = Counters(table.QUESTIONS)
        self._caller_compute, self._worker_compute = (
            Counters(table.CALLER_COMPUTE),
            Counters(table.WORKER_COMPUTE),
        )
        self._histograms = tuple(
            map(
                Histograms,
                (
                    table.QUEUE_TIME,
                    table.WORKER_WAIT,
                    table.DECODE_TIME,
                    table.COMPUTE_TIME,
                    table.BATCH_SIZE,
                    table.BATCH_FILL,
                ),
            )
        )
        self._parts_of = cache(self._parts)
        self.all: Figures = (self._questions, *self._histograms, self._caller_compute, self._worker_compute)

    def on_end(self, job: AnyJob, code: str) -> None:
        """Count a question that has ended."""
        caller = self._callers.label("" if job.caller is None else job.caller.name)
        self._questions.values[job.operation.rpc[1:], job.model, caller, code] += 1
        times = job.times
        took, dispatched_at = times.at_worker, times.dispatched_at
        if took is None or dispatched_at is None:
            return
        parts = self._parts_of(job.operation, job.model)
        parts.queue.observe(dispatched_at - times.arrived_at)
        parts.wait.observe(times.answered_at - dispatched_at - took.decode_s - took.compute_s)
        parts.decode.observe(took.decode_s)
        parts.compute.observe(took.compute_s)
        if took.is_first:
            parts.size.observe(took.batch_size)
            parts.fill.observe(took.batch_size / parts.most_items)
        share_s = took.compute_s / took.batch_size
        self._caller_compute.values[(caller,)] += share_s
        self._worker_compute.values[(str(times.worker),)] += share_s

    def _parts(self, operation: AnyOperation, model: str) -> _Parts:
        queue, wait, decode, compute, size, fill = (
            each.of(operation.rpc[1:], model) for each in self._histograms
        )
        return _Parts(queue, wait, decode, compute, size, fill, self._most_items(operation.per_picture))


class LoopLag:
    """How late timers of the event loop fire; `watch` runs beside it."""

    def __init__(self) -> None:
        histograms = Histograms(table.LOOP_LAG)
        self._lag = histograms.of()
        self.all: Figures = (histograms,)

    async def watch(self) -> None:
        """Asks for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_S
            await asyncio.sleep(LAG_S)
            self._lag.observe(max(0.0, loop.time() - due))
