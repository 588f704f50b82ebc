"""featsvc.v1.ModelService."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import asdict

from featsvc import __version__
from featsvc.catalog import Entry, WeightsPlace, catalog, check, entry_of
from featsvc.catalog.choice import DEMO, default_models, naming
from featsvc.certificates import ServerCertificate, left_of
from featsvc.errors import NotFound, invalid_field
from featsvc.pool.contract.protocol import Pool
from featsvc.pool.contract.status import CacheStatus, GpuStatus, WorkerStatus
from featsvc.server.calls.call import Call
from featsvc.server.keys.permissions import check_model
from featsvc.server.pictures.store import PictureStore
from featsvc.server.services.drain import Drain
from featsvc.twin.messages import words
from featsvc.v1 import model_pb2, model_pb2_grpc
from featsvc.work.caller import Caller
from featsvc.work.devices import is_gpu

LONGEST_GRACE_S = 86_400
FAMILIES = words(model_pb2.Family.DESCRIPTOR)


class ModelService(model_pb2_grpc.ModelServiceServicer):
    """The models of the server and its state."""

    def __init__(
        self,
        pool: Pool,
        place: WeightsPlace,
        images: PictureStore,
        drain: Drain,
        profile: str = "default",
        certificate: ServerCertificate | None = None,
    ) -> None:
        self._drain = drain
        self._profile = profile
        self._certificate = certificate
        self._pool = pool
        self._place = place
        self._images = images
        self._began = time.monotonic()

    async def GetCaller(self, request: model_pb2.GetCallerRequest, call: Call) -> model_pb2.GetCallerResponse:
        """Who asks."""
        caller = call.caller
        return model_pb2.GetCallerResponse(
            name=caller.name,
            roles=sorted(caller.roles),
            models=sorted(caller.models),
            limits=model_pb2.CallerLimits(**asdict(caller.limits)),
        )

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, call: Call
    ) -> model_pb2.ListModelsResponse:
        """All models that the caller may use, or those of one family."""
        if request.family and request.family not in FAMILIES:
            raise invalid_field("family", f"number {request.family} is no family")
        family = FAMILIES.get(request.family)
        entries = [
            entry
            for entry in catalog().values()
            if family in (None, entry.family) and call.caller.may_use(entry.key)
        ]
        models = await self._models(entries)
        kept = [model for model in models if model.available or not request.available_only]
        kept.sort(key=_by_family_and_key)
        return model_pb2.ListModelsResponse(models=kept)

    async def LoadModel(self, request: model_pb2.LoadModelRequest, call: Call) -> model_pb2.LoadModelResponse:
        """Loads a model on every worker."""
        entry = self._named(request.key, call)
        await self._pool.load(entry.key)
        (model,) = await self._models([entry])
        return model_pb2.LoadModelResponse(model=model)

    async def UnloadModel(
        self, request: model_pb2.UnloadModelRequest, call: Call
    ) -> model_pb2.UnloadModelResponse:
        """Frees the memory of a model on every worker."""
        entry = self._named(request.key, call)
        await self._pool.unload(entry.key)
        (model,) = await self._models([entry])
        return model_pb2.UnloadModelResponse(model=model)

    async def Drain(self, request: model_pb2.DrainRequest, call: Call) -> model_pb2.DrainResponse:
        """Has the server finish what it has, and end."""
        grace_s = request.grace_s if request.HasField("grace_s") else None
        if grace_s is not None and not 0 <= grace_s <= LONGEST_GRACE_S:
            raise invalid_field("grace_s", f"{grace_s:g} s, from 0 to {LONGEST_GRACE_S} (a day)")
        self._drain.ask(grace_s)
        return model_pb2.DrainResponse(open=self._pool.status().open_requests, grace_s=self._drain.grace_s)

    async def GetStatus(self, request: model_pb2.GetStatusRequest, call: Call) -> model_pb2.GetStatusResponse:
        """The state of the server, as much of it as the caller may see."""
        status, caller = self._pool.status(), call.caller
        reply = model_pb2.GetStatusResponse(
            version=__version__,
            uptime_s=time.monotonic() - self._began,
            draining=self._drain.asked.is_set(),
            workers=[_worker(worker, caller) for worker in status.workers],
            gpu_count=len(
                {_gpu_name(each) for each in status.workers if each.is_alive and is_gpu(each.device)}
            ),
        )
        if caller.sees_all:
            reply.queued, reply.queued_bytes = status.queued_count, status.queued_bytes
            reply.requests = status.total_requests
            reply.images.CopyFrom(_images(self._images))
            if (left_s := left_of(self._certificate)) is not None:
                reply.certificate_left_s = left_s
        if request.with_models and caller.name:
            reply.MergeFrom(await asyncio.to_thread(self._told_models, caller))
        return reply

    def _told_models(self, caller: Caller) -> model_pb2.GetStatusResponse:
        """The models of requests that name none, and those to try; looks at files."""
        defaults = default_models(self._profile)
        found = [
            next((each for each in (entry, entry_of(DEMO[entry.family])) if self._is_here(each)), None)
            for entry in defaults
        ]
        return model_pb2.GetStatusResponse(
            default_models=[_named(entry) for entry in defaults if caller.may_use(entry.key)],
            models_to_try=[_named(entry) for entry in found if entry and caller.may_use(entry.key)],
        )

    def _is_here(self, entry: Entry) -> bool:
        return check(entry, self._place).file is not None

    def _named(self, key: str, call: Call) -> Entry:
        if not key:
            raise invalid_field("key", "name a model; ListModels shows them all")
        if len(key) > 256:
            raise NotFound("no model has a name of more than 256 characters")
        entry = entry_of(key)
        call.model = entry.key
        check_model(call.caller, entry)
        return entry

    async def _models(self, entries: list[Entry]) -> list[model_pb2.Model]:
        # Of the event loop, where the pool changes all the time.
        loaded = Counter(model.name for worker in self._pool.status().workers for model in worker.models)
        # Looks at files, so not on the event loop.
        return await asyncio.to_thread(lambda: [self._model(entry, loaded[entry.key]) for entry in entries])

    def _model(self, entry: Entry, loaded_workers: int) -> model_pb2.Model:
        return model_pb2.Model(
            key=entry.key,
            family=_family(entry),
            description=entry.description,
            license=entry.licence,
            size_bytes=entry.nbytes,
            available=self._is_here(entry),
            loaded_workers=loaded_workers,
            options=naming(entry),
        )


def _family(entry: Entry | None) -> model_pb2.Family:
    return getattr(model_pb2, f"FAMILY_{entry.family.upper()}") if entry else model_pb2.FAMILY_UNSPECIFIED


def _named(entry: Entry) -> model_pb2.NamedModel:
    return model_pb2.NamedModel(family=_family(entry), key=entry.key, options=naming(entry))


def _worker(status: WorkerStatus, caller: Caller) -> model_pb2.Worker:
    """A worker, as much of it as the caller may see."""
    told = model_pb2.Worker(id=status.id, state=str(status.state))
    if caller.name:
        told.device, told.precision = status.device, status.precision
        told.models.extend(
            model_pb2.LoadedModel(
                key=model.name,
                names=model.keys,
                size_bytes=model.nbytes,
                family=_family(catalog().get(model.name)),
            )
            for model in status.models
            if caller.may_use(model.name)
        )
        told.failed_models.extend(
            model_pb2.FailedModel(
                key=model.name, reason=model.reason, family=_family(catalog().get(model.name))
            )
            for model in status.failed_models
            if caller.may_use(model.name)
        )
        if status.gpu is not None:
            told.gpu.CopyFrom(_gpu(status.gpu))
    if caller.sees_all:
        told.pid, told.machine, told.restarts = status.pid or 0, status.machine, status.restarts
        told.batches, told.items = status.batches, status.items
        told.caches.extend(map(_cache, status.caches))
    return told


def _cache(status: CacheStatus) -> model_pb2.Cache:
    return model_pb2.Cache(
        name=status.name,
        hits=status.hits,
        misses=status.misses,
        evictions=status.evictions,
        entries=status.entries,
        size_bytes=status.nbytes,
        limit_bytes=status.max_bytes,
    )


def _gpu_name(worker: WorkerStatus) -> str:
    """What no other GPU is called: on other machines devices have the same names."""
    return worker.gpu.uuid if worker.gpu else worker.device


def _gpu(status: GpuStatus) -> model_pb2.Gpu:
    return model_pb2.Gpu(
        name=status.name,
        uuid=status.uuid,
        size_bytes=status.total_bytes,
        free_bytes=status.free_bytes,
        utilization_percent=status.utilization_percent,
    )


def _images(store: PictureStore) -> model_pb2.Cache:
    return model_pb2.Cache(
        name="images",
        hits=store.counts.hits,
        misses=store.counts.misses,
        evictions=store.counts.evictions,
        entries=len(store),
        size_bytes=store.nbytes,
        limit_bytes=store.max_bytes,
    )


def _by_family_and_key(model: model_pb2.Model) -> tuple[int, str]:
    return model.family, model.key
