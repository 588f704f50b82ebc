"""What is counted while it happens: calls and questions as they end, and how late the event loop is.

An end is only noted, and many are counted together: code that has just run is in the processor's caches, and counting
one by itself takes several times as long.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np

from featsvc.codec import shim_headers
from featsvc.pool.contract.job import AnyJob, JobTimes
from featsvc.server.calls.call import STATUS, Call
from featsvc.server.calls.statuses import error_type
from featsvc.server.metrics import table
from featsvc.server.metrics.figures import CallerNames, Counters, Histogram, Histograms
from featsvc.work.operations import OPERATIONS, AnyOperation

TOGETHER = 128  # counted in a few hundred microseconds
LAG_S = 0.1
"""How often the event loop is asked how late it is."""
GRPC = "grpc"
PORTS = frozenset(("page", *(each.family for each in OPERATIONS)))
Figures: TypeAlias = tuple[Counters | Histograms, ...]
Refusal: TypeAlias = type[Exception] | None
EndedCall: TypeAlias = tuple[str, str, Refusal, str, float, int, int, str]
"""Method, code, refusal, caller, seconds, bytes in and out, and the trace's id."""
Kind: TypeAlias = tuple[str, str]
"""Method and model."""
Row: TypeAlias = tuple[float, ...]
EndedJob: TypeAlias = tuple[AnyOperation, str, str, str, JobTimes]
"""Operation, model, caller, code, times."""


class CallFigures:
    """The observer that counts calls."""

    def __init__(self, callers: CallerNames) -> None:
        self._callers = callers
        self._ended: list[EndedCall] = []
        self._durations = Histograms(table.CALL_DURATION)
        self._calls, self._bytes_in, self._bytes_out, self._of_rest = map(
            Counters, (table.CALLS, table.REQUEST_BYTES, table.RESPONSE_BYTES, table.REST_REFUSALS)
        )
        callers.counted_in(self._calls, self._bytes_in, self._bytes_out)

    def on_start(self, call: Call) -> None:
        """Nothing is counted before the end."""

    def on_end(self, call: Call, code: str) -> None:
        """Take note of a call that has ended."""
        refusal = None if call.refusal is None else type(call.refusal)
        trace_id = "" if call.trace is None else call.trace.trace_id
        took_s = time.monotonic() - call.began
        told = (call.method, code, refusal, call.caller.name, took_s, call.bytes_in, call.bytes_out, trace_id)
        self._ended.append(told)
        if len(self._ended) >= TOGETHER:
            self._count()
        # Whoever has a key for the state of the server; nobody else is believed.
        if call.method == STATUS and "status" in call.caller.roles:
            for (port, status), count in shim_headers.refusals(call.metadata(shim_headers.REFUSED)).items():
                if port in PORTS:
                    self._of_rest.values[port, str(status)] += count

    def figures(self) -> Figures:
        """All of it, as it is now."""
        self._count()
        return (self._durations, self._calls, self._bytes_in, self._bytes_out, self._of_rest)

    def _count(self) -> None:
        ended, self._ended = self._ended, []
        durations = defaultdict[tuple[str, str, Refusal], list[float]](list)
        for method, code, refusal, name, took_s, bytes_in, bytes_out, trace_id in ended:
            durations[method, code, refusal].append(took_s)
            if trace_id:
                self._duration(method, code, refusal).exemplify(took_s, {"trace_id": trace_id})
            short, caller = method[1:], self._callers.label(name)
            self._calls.values[short, code, caller] += 1
            self._bytes_in.values[short, caller] += bytes_in
            self._bytes_out.values[short, caller] += bytes_out
        for key, values in durations.items():
            self._duration(*key).observe(values)

    def _duration(self, method: str, code: str, refusal: Refusal) -> Histogram:
        error = "" if code == "OK" else error_type(refusal, code)
        return self._durations.of(GRPC, method[1:], code, error)


PARTS = (table.QUEUE_TIME, table.WORKER_WAIT, table.DECODE_TIME, table.COMPUTE_TIME)
PASSES = (table.BATCH_SIZE, table.BATCH_FILL)


class JobFigures:
    """The observer that counts questions, and what they have taken."""

    def __init__(self, callers: CallerNames, most_items: Callable[[int], int]) -> None:
        self._callers = callers
        self._most_items = most_items
        self._ended: list[EndedJob] = []
        self._questions, self._caller_compute, self._worker_compute = map(
            Counters, (table.QUESTIONS, table.CALLER_COMPUTE, table.WORKER_COMPUTE)
        )
        callers.counted_in(self._questions, self._caller_compute)
        self._parts, self._passes = tuple(map(Histograms, PARTS)), tuple(map(Histograms, PASSES))

    def on_end(self, job: AnyJob, code: str) -> None:
        """Take note of a question that has ended."""
        name = "" if job.caller is None else job.caller.name
        self._ended.append((job.operation, job.model, name, code, job.times))
        if len(self._ended) >= TOGETHER:
            self._count()

    def figures(self, workers: Collection[int]) -> Figures:
        """All of it, as it is now; of these workers alone, for numbers of others never come again."""
        self._count()
        self._worker_compute.keep("worker", {str(number) for number in workers})
        return (self._questions, *self._parts, *self._passes, self._caller_compute, self._worker_compute)

    def _count(self) -> None:
        ended, self._ended = self._ended, []
        parts = defaultdict[Kind, list[Row]](list)
        passes = defaultdict[Kind, list[Row]](list)
        for operation, model, name, code, times in ended:
            kind, caller = (operation.rpc[1:], model), self._callers.label(name)
            self._questions.values[*kind, caller, code] += 1
            took, dispatched_at = times.at_worker, times.dispatched_at
            if took is None or dispatched_at is None:
                continue
            waited_s = times.answered_at - dispatched_at - took.decode_s - took.compute_s
            parts[kind].append((dispatched_at - times.arrived_at, waited_s, took.decode_s, took.compute_s))
            size = took.batch_size
            if took.is_first:
                passes[kind].append((size, size / self._most_items(operation.per_picture)))
            self._caller_compute.values[(caller,)] += took.compute_s / size
            self._worker_compute.values[(str(times.worker),)] += took.compute_s / size
        for figures, rows in ((self._parts, parts), (self._passes, passes)):
            for kind, found in rows.items():
                for each, values in zip(figures, np.array(found).T, strict=True):
                    each.of(*kind).observe(values)


class LoopLag:
    """How late timers of the event loop fire; `watch` runs beside it."""

    def __init__(self) -> None:
        self._histograms = Histograms(table.LOOP_LAG)
        self._lag = self._histograms.of()

    def figures(self) -> Figures:
        """All of it, as it is now."""
        return (self._histograms,)

    async def watch(self) -> None:
        """Asks for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_S
            await asyncio.sleep(LAG_S)
            self._lag.observe((max(0.0, loop.time() - due),))
