"""What is not counted but looked at when somebody asks: workers, queue, models, caches, devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family

from featsvc import __version__
from featsvc.pool.contract.status import CacheStatus, PoolStatus, WorkerStatus
from featsvc.server.metrics import table
from featsvc.server.metrics.figures import CallerNames, Counters, Labels
from featsvc.server.metrics.table import Metric

Row: TypeAlias = tuple[Metric, Labels, float]
GATEWAY = "gateway"
"""Stands for a worker where a cache is the gateway's own."""


@dataclass(frozen=True)
class Moment:
    """The server at one moment."""

    pool: PoolStatus
    pictures: CacheStatus
    open_calls: dict[bool, int]
    """By whether they have a key."""
    unread_count: int
    max_queue: int
    max_queue_bytes: int
    is_ready: bool
    certificate_left_s: float | None = None
    """None without TLS, or where it cannot be read."""


def families(moment: Moment, callers: CallerNames) -> list[Family]:
    """All of it as Prometheus gets it, in the order of the table."""
    found: dict[Metric, Counters] = {}
    for metric, labels, value in _rows(moment, callers):
        # Those of callers that are `other` come more than once.
        found.setdefault(metric, Counters(metric)).values[labels] += value
    return [_family(metric, found[metric]) for metric in table.TABLE if metric in found]


def _family(metric: Metric, values: Counters) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.values.items():
        family.add_metric(labels, value)
    return family


def _rows(moment: Moment, callers: CallerNames) -> Iterator[Row]:
    pool = moment.pool
    for has_key, count in moment.open_calls.items():
        yield table.OPEN_CALLS, ("yes" if has_key else "no",), count
    yield table.QUEUE_LENGTH, (), pool.queued_count
    yield table.QUEUE_LIMIT, (), moment.max_queue
    yield table.QUEUE_BYTES, (), pool.queued_bytes
    yield table.QUEUE_BYTES_LIMIT, (), moment.max_queue_bytes
    yield table.UNREAD, (), moment.unread_count
    yield table.QUEUE_AGE, (), max((each.oldest_s for each in pool.open_jobs), default=0.0)
    for jobs in pool.open_jobs:
        labels = jobs.operation[1:], jobs.model, callers.label(jobs.caller)
        yield table.WAITING, labels, jobs.waiting
        yield table.WORKING, labels, jobs.at_work
    for worker in pool.workers:
        yield from _of_worker(worker)
    yield from _of_devices(pool)
    yield from _of_cache(GATEWAY, moment.pictures)
    if moment.certificate_left_s is not None:
        yield table.CERTIFICATE_LEFT, (), moment.certificate_left_s
    yield table.READY, (), moment.is_ready
    yield table.BUILD, (__version__,), 1


def _of_worker(worker: WorkerStatus) -> Iterator[Row]:
    own = (str(worker.id),)
    yield table.WORKER_UP, (*own, worker.device), worker.is_alive
    yield table.WORKER_INFO, (*own, worker.machine, worker.gpu.uuid if worker.gpu else ""), 1
    yield table.WORKER_RESTARTS, own, worker.restarts
    yield table.WORKER_BATCHES, own, worker.batches
    yield table.WORKER_ITEMS, own, worker.items
    for model in worker.models:
        yield table.MODEL_BYTES, (*own, model.name), model.nbytes
    for failed in worker.failed_models:
        yield table.MODEL_FAILED, (*own, failed.name), 1
    for cache in worker.caches:
        yield from _of_cache(own[0], cache)


def _of_cache(worker: str, cache: CacheStatus) -> Iterator[Row]:
    labels = worker, cache.name
    yield table.CACHE_HITS, labels, cache.hits
    yield table.CACHE_MISSES, labels, cache.misses
    yield table.CACHE_EVICTIONS, labels, cache.evictions
    yield table.CACHE_ENTRIES, labels, cache.entries
    yield table.CACHE_BYTES, labels, cache.nbytes
    yield table.CACHE_LIMIT, labels, cache.max_bytes


def _of_devices(pool: PoolStatus) -> Iterator[Row]:
    """The memory of GPUs, each once however many workers it has."""
    # Not by their names: with one GPU to each process all are cuda:0.
    gpus = {worker.gpu.uuid: (worker.device, worker.gpu) for worker in pool.workers if worker.gpu}
    for device, gpu in gpus.values():
        yield table.DEVICE_BYTES, (device, gpu.uuid), gpu.total_bytes
        yield table.DEVICE_FREE, (device, gpu.uuid), gpu.free_bytes
        if gpu.utilization_percent is not None:
            yield table.DEVICE_USE, (device, gpu.uuid), gpu.utilization_percent / 100
