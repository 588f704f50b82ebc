"""The observers that trace calls and the questions in them."""

from __future__ import annotations

import time

from featsvc.pool.contract.job import AnyJob
from featsvc.server.calls.call import PROBES, Call
from featsvc.server.calls.statuses import error_type
from featsvc.tracing import Facts, Tracer, current

GRPC = {"rpc.system.name": "grpc"}


class CallTraces:
    """A span for each call that is traced."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def on_start(self, call: Call) -> None:
        """Choose whether to trace it; probes are not."""
        if call.method.startswith(PROBES):
            return
        # Traces cost, so nobody without a key has any say.
        traceparent = call.traceparent if call.caller.name else ""
        call.trace = self._tracer.begin(call.method[1:], traceparent, call.began, GRPC)

    def on_end(self, call: Call, code: str) -> None:
        """Close its span."""
        trace, times = call.trace, call.times
        if trace is None:
            return
        if times is not None and times.at_worker is not None and call.encoded_at > times.answered_at:
            trace.part("encode", times.answered_at, call.encoded_at)
        facts: Facts = {
            "rpc.method": call.method[1:],
            "rpc.response.status_code": code,
            "featsvc.caller": call.caller.name,
            "featsvc.request_id": call.request_id,
            "featsvc.request_bytes": call.bytes_in,
            "featsvc.response_bytes": call.bytes_out,
        }
        refusal = None if call.refusal is None else type(call.refusal)
        trace.end(facts, "" if code == "OK" else error_type(refusal, code))


class JobTraces:
    """The parts of each question of a call that is traced."""

    def on_end(self, job: AnyJob, code: str) -> None:
        """Make its spans, where they belong to any."""
        trace = current.get()
        if trace is None:
            return
        times, took = job.times, job.times.at_worker
        facts: Facts = {"rpc.method": job.operation.rpc[1:], "featsvc.model": job.model}
        dispatched_at = times.dispatched_at
        trace.part("queue", times.arrived_at, dispatched_at or time.monotonic(), facts)
        if took is None or dispatched_at is None:
            return
        at_worker = {**facts, "featsvc.worker": times.worker or 0}
        # The worker tells durations; the pass ended when its answer came.
        computing = max(dispatched_at, times.answered_at - took.compute_s - took.paused_s)
        decoding = max(dispatched_at, computing - took.waited_s - took.decode_s)
        trace.part("decode", decoding, decoding + took.decode_s, at_worker)
        paused = {"featsvc.batch_size": took.batch_size, "featsvc.paused_s": took.paused_s}
        trace.part("compute", computing, times.answered_at, {**at_worker, **paused})
