"""The pages of the metrics port: /metrics, /healthz and /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from prometheus_client import ProcessCollector, exposition
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

from featsvc.certificates import ServerCertificate, left_of
from featsvc.children import at_work
from featsvc.pool.contract.protocol import Pool
from featsvc.pool.contract.status import CacheStatus
from featsvc.server.calls.admission import Admission
from featsvc.server.metrics.figures import CallerNames, Counters, Histograms
from featsvc.server.metrics.observers import CallFigures, JobFigures, LoopLag
from featsvc.server.metrics.port import Page, listening
from featsvc.server.metrics.readiness import told
from featsvc.server.metrics.state import Moment, families
from featsvc.server.pictures.store import PictureStore
from featsvc.settings.tree import GatewaySettings

OPEN_METRICS = "application/openmetrics-text"
JSON = "application/json"


States = Callable[[], Mapping[str, bool]]


@dataclass(frozen=True)
class _Sources:
    """What is looked at when somebody asks."""

    pool: Pool
    pictures: PictureStore
    admission: Admission
    states: States
    certificate: ServerCertificate | None


class Exporter:
    """Counts from its making on; `listening` shows it. `most_items` is what may share a batch of an operation."""

    def __init__(self, settings: GatewaySettings, most_items: Callable[[int], int]) -> None:
        self._settings = settings
        self._callers = CallerNames(settings.metrics_callers)
        self.calls = CallFigures(self._callers)
        self.jobs = JobFigures(self._callers, most_items)
        self._lag = LoopLag()
        self._process = ProcessCollector(registry=None)

    def keys_changed(self, names: Collection[str]) -> None:
        """These have keys now, and no others."""
        self._callers.keys_changed(names)

    @asynccontextmanager
    async def listening(
        self,
        pool: Pool,
        pictures: PictureStore,
        admission: Admission,
        states: States,
        certificate: ServerCertificate | None,
    ) -> AsyncIterator[int]:
        """The port, open; raises InvalidArgument where it cannot be opened.

        `states` says which services serve, as grpc.health.v1 does; the server itself is the one without a name.
        """
        sources = _Sources(pool, pictures, admission, states, certificate)

        async def page(path: str, accept: str) -> Page | None:
            match path:
                case "/metrics":
                    return await self._metrics(sources, accept)
                case "/healthz":
                    return _json({"status": "alive"}, HTTPStatus.OK)
                case "/readyz":
                    states = sources.states()
                    status = HTTPStatus.OK if states[""] else HTTPStatus.SERVICE_UNAVAILABLE
                    return _json(told(states, sources.pool.status()), status)
            return None

        host, port = self._settings.metrics_host, self._settings.metrics_port or 0
        async with at_work(self._lag.watch()), listening(host, port, page) as number:
            yield number

    async def _metrics(self, sources: _Sources, accept: str) -> Page:
        # All is copied at once, so that the figures of a page are of one moment; writing it takes longer.
        moment = self._moment(sources)
        workers = [worker.id for worker in moment.pool.workers]
        found = (*self.calls.figures(), *self.jobs.figures(workers), *self._lag.figures())
        counted = [each.copy() for each in found]
        return await asyncio.to_thread(self._written, counted, moment, OPEN_METRICS in accept)

    def _written(self, counted: Sequence[Counters | Histograms], moment: Moment, is_open: bool) -> Page:
        found = [each.family() for each in counted]
        all_families = _Families([*found, *families(moment, self._callers), *self._process.collect()])
        if is_open:
            body = openmetrics.generate_latest(all_families)  # type: ignore[no-untyped-call]
            return Page(body, openmetrics.CONTENT_TYPE_LATEST)
        return Page(exposition.generate_latest(all_families), exposition.CONTENT_TYPE_PLAIN_0_0_4)

    def _moment(self, sources: _Sources) -> Moment:
        return Moment(
            pool=sources.pool.status(),
            pictures=_pictures(sources.pictures),
            open_calls=sources.admission.open_calls(),
            unread_count=sources.admission.unread_count,
            max_queue=self._settings.max_queue,
            max_queue_bytes=self._settings.max_queue_bytes,
            is_ready=sources.states()[""],
            certificate_left_s=left_of(sources.certificate),
        )


@dataclass(frozen=True)
class _Families:
    """As the library takes them."""

    families: Iterable[Family]

    def collect(self) -> Iterator[Family]:
        """All of them."""
        return iter(self.families)


def _pictures(store: PictureStore) -> CacheStatus:
    counts = store.counts
    return CacheStatus(
        "pictures", counts.hits, counts.misses, counts.evictions, len(store), store.nbytes, store.max_bytes
    )


def _json(content: object, status: HTTPStatus) -> Page:
    return Page(orjson.dumps(content), JSON, status)
