"""The table of metrics: what is exported, what docs/operations.md lists, and what dashboard and alerts may name.

Names of calls follow OpenTelemetry's conventions for RPC (`rpc.server.call.duration` and its attributes), as Prometheus
writes them. Times are seconds, sizes bytes. Every label has few values: `caller` at most `--metrics-callers` and one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
# Those of the conventions, with finer ones below, for texts take a millisecond, and longer ones above.
CALL_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    30,
    60,
)
PART_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# The clock of timers has steps of a millisecond.
LAG_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
SHARE_BUCKETS = (0.125, 0.25, 0.5, 0.75, 1)

HTTP_STATUS = "http_response_status_code"
METHOD, STATUS = "rpc_method", "rpc_response_status_code"
QUESTION = (METHOD, "model")
ASKED = (METHOD, "model", "caller")
CACHE = ("worker", "cache")
DEVICE = ("device", "uuid")


@dataclass(frozen=True)
class Metric:
    """One line of the table."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


CALL_DURATION = Metric(
    "rpc_server_call_duration_seconds",
    "histogram",
    "Time of a gRPC call, from its key to its status; error_type is the code, or a narrower reason.",
    ("rpc_system_name", METHOD, STATUS, "error_type"),
    CALL_BUCKETS,
)
CALLS = Metric(
    "featsvc_calls_total", "counter", "gRPC calls that have ended, by caller.", (METHOD, STATUS, "caller")
)
REST_REFUSALS = Metric(
    "featsvc_rest_refusals_total",
    "counter",
    "HTTP requests that a REST port has refused before any question to a model; those of the gateway are calls.",
    ("port", HTTP_STATUS),
)
REQUEST_BYTES = Metric(
    "featsvc_request_bytes_total", "counter", "Bytes of the messages of calls.", (METHOD, "caller")
)
RESPONSE_BYTES = Metric(
    "featsvc_response_bytes_total", "counter", "Bytes of the messages of answers.", (METHOD, "caller")
)
OPEN_CALLS = Metric(
    "featsvc_open_calls", "gauge", "Calls that are open now, with a key and without one.", ("has_key",)
)
QUESTIONS = Metric(
    "featsvc_questions_total",
    "counter",
    "Questions to models that have ended; a call asks one, a stream many.",
    (*ASKED, STATUS),
)
QUEUE_TIME = Metric(
    "featsvc_queue_time_seconds",
    "histogram",
    "Time that an answered question waited in the queue before a worker.",
    QUESTION,
    PART_BUCKETS,
)
WORKER_WAIT = Metric(
    "featsvc_worker_wait_seconds",
    "histogram",
    "Time that an answered question waited at its worker, pauses and the way there and back included.",
    QUESTION,
    PART_BUCKETS,
)
DECODE_TIME = Metric(
    "featsvc_decode_time_seconds",
    "histogram",
    "Time for preparing an answered question: decoding and resizing its picture.",
    QUESTION,
    PART_BUCKETS,
)
COMPUTE_TIME = Metric(
    "featsvc_compute_time_seconds",
    "histogram",
    "Time of the pass of the network that an answered question shared, without pauses.",
    QUESTION,
    PART_BUCKETS,
)
BATCH_SIZE = Metric(
    "featsvc_batch_size",
    "histogram",
    "Questions that share a pass of the network, for each pass.",
    QUESTION,
    SIZE_BUCKETS,
)
BATCH_FILL = Metric(
    "featsvc_batch_fill_ratio",
    "histogram",
    "The same, of the most that may share one.",
    QUESTION,
    SHARE_BUCKETS,
)
CALLER_COMPUTE = Metric(
    "featsvc_caller_compute_seconds_total",
    "counter",
    "Device time by caller: of a pass that several share, each has its part.",
    ("caller",),
)
WORKER_COMPUTE = Metric(
    "featsvc_worker_compute_seconds_total",
    "counter",
    "Device time by worker; its rate is how busy the worker's device is, from 0 to 1.",
    ("worker",),
)
QUEUE_LENGTH = Metric("featsvc_queue_length", "gauge", "Questions that wait for a worker.")
QUEUE_LIMIT = Metric("featsvc_queue_length_limit", "gauge", "Most that may wait (--max-queue).")
QUEUE_BYTES = Metric("featsvc_queue_bytes", "gauge", "Bytes of the questions that wait for a worker.")
QUEUE_BYTES_LIMIT = Metric("featsvc_queue_bytes_limit", "gauge", "Most of them (--max-queue-bytes).")
UNREAD = Metric(
    "featsvc_unread_questions",
    "gauge",
    "Questions with large messages that are not received yet, until workers have taken others of the same key.",
)
QUEUE_AGE = Metric("featsvc_queue_age_seconds", "gauge", "How long the question has waited that came first.")
WAITING = Metric("featsvc_waiting_questions", "gauge", "Questions that wait, by what they ask.", ASKED)
WORKING = Metric("featsvc_working_questions", "gauge", "Questions at a worker, by what they ask.", ASKED)
WORKER_UP = Metric("featsvc_worker_up", "gauge", "1 where the worker takes work.", ("worker", "device"))
WORKER_INFO = Metric(
    "featsvc_worker_info",
    "gauge",
    "1, with where the worker runs: the address of its machine, where there may be several, and its GPU.",
    ("worker", "machine", "uuid"),
)
WORKER_RESTARTS = Metric(
    "featsvc_worker_restarts_total", "counter", "Times that the worker was started again.", ("worker",)
)
WORKER_BATCHES = Metric(
    "featsvc_worker_batches_total", "counter", "Batches that the worker has answered.", ("worker",)
)
WORKER_ITEMS = Metric(
    "featsvc_worker_items_total", "counter", "Questions that the worker has answered.", ("worker",)
)
MODEL_BYTES = Metric(
    "featsvc_model_bytes", "gauge", "Memory of a model that is loaded, on the device.", ("worker", "model")
)
MODEL_FAILED = Metric(
    "featsvc_model_failed", "gauge", "1 where a model should be loaded and cannot.", ("worker", "model")
)
CACHE_HITS = Metric("featsvc_cache_hits_total", "counter", "Values that were there when wanted.", CACHE)
CACHE_MISSES = Metric("featsvc_cache_misses_total", "counter", "Values that had to be made.", CACHE)
CACHE_EVICTIONS = Metric("featsvc_cache_evictions_total", "counter", "Values that had to go.", CACHE)
CACHE_ENTRIES = Metric("featsvc_cache_entries", "gauge", "Values in the cache.", CACHE)
CACHE_BYTES = Metric("featsvc_cache_bytes", "gauge", "What they take.", CACHE)
CACHE_LIMIT = Metric("featsvc_cache_limit_bytes", "gauge", "What they may take; 0 keeps none.", CACHE)
DEVICE_BYTES = Metric("featsvc_device_memory_bytes", "gauge", "Memory of a worker's GPU.", DEVICE)
DEVICE_FREE = Metric("featsvc_device_free_bytes", "gauge", "What no process holds of it.", DEVICE)
DEVICE_USE = Metric(
    "featsvc_device_utilization_ratio",
    "gauge",
    "Part of the last second in which the GPU computed, whoever asked it; its driver tells.",
    DEVICE,
)
LOOP_LAG = Metric(
    "featsvc_event_loop_lag_seconds",
    "histogram",
    "How late a timer of the gateway's event loop fires, asked ten times a second.",
    buckets=LAG_BUCKETS,
)
CERTIFICATE_LEFT = Metric(
    "featsvc_certificate_left_seconds",
    "gauge",
    "Time until the first certificate of --tls-cert expires; below 0 it has.",
)
READY = Metric("featsvc_ready", "gauge", "1 where /readyz says so.")
BUILD = Metric("featsvc_build_info", "gauge", "1, with the version as label.", ("version",))

TABLE = tuple(each for each in tuple(globals().values()) if isinstance(each, Metric))
"""All of them, in this order."""
