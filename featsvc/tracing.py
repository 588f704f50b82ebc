"""Traces by OpenTelemetry, in gateway and REST: what was asked and how long each part took, nothing of its content.

Only what is sampled is made at all: other requests cost a look at a header and a random number. The spans of a worker
are made by the gateway, of what the worker tells with its answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeAlias

from featsvc.errors import InvalidArgument

TRACEPARENT = "traceparent"
"""Of W3C's Trace Context: the trace and the span that a request belongs to."""
TRACERESPONSE = "traceresponse"
"""The same of a reply, where it is traced."""
PARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
UNSAMPLED = f"00-{1:032x}-{1:016x}-00"
"""Says to the next process that this request is not traced, or it would choose anew."""
EXPORT_S = 5.0
"""For one batch of spans, and for the last ones at the end."""
Facts: TypeAlias = Mapping[str, str | int | float]
NO_FACTS: Facts = {}

onward: ContextVar[str] = ContextVar("onward", default="")
"""The traceparent for calls that the request at work makes; empty where nothing is traced."""
current: ContextVar[Trace | None] = ContextVar("current", default=None)
"""The trace of the request at work."""


class Trace:
    """The span of one request in this process, and the parts below it. Any: what OpenTelemetry makes of it."""

    def __init__(self, tracer: Any, span: Any, zero_ns: int) -> None:
        self._tracer, self._span, self._zero_ns = tracer, span, zero_ns
        self.is_kept = True
        """Whether it is sent at its end; not where its caller has wished for it and is not known."""
        found = span.get_span_context()
        self.trace_id = f"{found.trace_id:032x}"
        self.traceparent = f"00-{self.trace_id}-{found.span_id:016x}-01"

    def part(self, name: str, began_at: float, ended_at: float, facts: Facts = NO_FACTS) -> None:
        """A part of it; times are those of time.monotonic."""
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(self._span)
        span = self._tracer.start_span(name, context, attributes=facts, start_time=self._epoch_ns(began_at))
        span.end(self._epoch_ns(max(began_at, ended_at)))

    def end(self, facts: Facts, error_type: str = "") -> None:
        """The request has ended, now."""
        if not self.is_kept:
            return
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attributes(facts)
        if error_type:
            self._span.set_attribute("error.type", error_type)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(self._epoch_ns(time.monotonic()))

    def _epoch_ns(self, monotonic: float) -> int:
        return self._zero_ns + round(1e9 * monotonic)


class Tracer:
    """Chooses what is traced, and sends it. Raises InvalidArgument where OpenTelemetry is not installed."""

    def __init__(self, endpoint: str, sample: float, service: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        except ImportError:
            raise InvalidArgument(
                "otlp_endpoint: OpenTelemetry is not here: pip install '.[otel]' at the top of a clone"
            ) from None
        self._sample = sample
        exporter = OTLPSpanExporter(endpoint, timeout=EXPORT_S)
        resource = Resource.create({"service.name": service, "service.namespace": "featsvc"})
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("featsvc")

    def begin(
        self, name: str, traceparent: str, began_at: float, facts: Facts, *, is_known: bool = True
    ) -> Trace | None:
        """The trace of a request, None where it is not to be traced. What its caller says of that holds.

        Callers without a right key have no say: where none is judged yet, `is_kept` of the trace is set when one is.
        """
        is_chosen = random.random() < self._sample
        parent = PARENT.fullmatch(traceparent)
        if not (int(parent[3], 16) & 1 if parent else is_chosen):
            onward.set(UNSAMPLED)
            return None
        from opentelemetry.trace import SpanKind

        context = _remote(parent) if parent else None
        # Once a request: a thread that is held up between the two clocks must not move its parts against each other.
        zero_ns = time.time_ns() - time.monotonic_ns()
        start_ns = zero_ns + round(1e9 * began_at)
        span = self._tracer.start_span(name, context, SpanKind.SERVER, facts, start_time=start_ns)
        trace = Trace(self._tracer, span, zero_ns)
        trace.is_kept = is_known or is_chosen
        current.set(trace)
        onward.set(trace.traceparent)
        return trace

    async def close(self) -> None:
        """Sends what there is, and gives up after a while."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(done.set)

        # No thread of the loop's pool: the end of the process would wait for that.
        threading.Thread(target=close, name="last-spans", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), EXPORT_S)


@asynccontextmanager
async def tracing(endpoint: str, sample: float, service: str) -> AsyncIterator[Tracer | None]:
    """What traces a part of the requests, none where no endpoint is given. Raises what `Tracer` raises."""
    if not endpoint:
        yield None
        return
    # Its own lines of an endpoint that is away would come for each batch, with a traceback.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    tracer = Tracer(endpoint, sample, service)
    try:
        yield tracer
    finally:
        await tracer.close()


def _remote(parent: re.Match[str]) -> Any:  # Any: a context of OpenTelemetry
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    trace_id, span_id, flags = (int(each, 16) for each in parent.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(context))
