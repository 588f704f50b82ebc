"""featsvc.v1.ModelService."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from featsvc import __version__
from featsvc.catalog import Entry, WeightsPlace, catalog, check, entry_of
from featsvc.catalog.choice import DEMO, default_models, naming
from featsvc.errors import NotFound, invalid_field
from featsvc.pool.contract.protocol import Pool
from featsvc.pool.contract.status import GpuStatus, WorkerStatus
from featsvc.server.calls.call import Call
from featsvc.server.pictures.store import PictureStore
from featsvc.twin.messages import words
from featsvc.v1 import model_pb2, model_pb2_grpc
from featsvc.work.devices import is_gpu

FAMILIES = words(model_pb2.Family.DESCRIPTOR)


class ModelService(model_pb2_grpc.ModelServiceServicer):
    """The models of the server and its state."""

    def __init__(
        self, pool: Pool, place: WeightsPlace, images: PictureStore, profile: str = "default"
    ) -> None:
        self._profile = profile
        self._pool = pool
        self._place = place
        self._images = images
        self._began = time.monotonic()

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, call: Call
    ) -> model_pb2.ListModelsResponse:
        """All models, or those of one family."""
        if request.family and request.family not in FAMILIES:
            raise invalid_field("family", f"number {request.family} is no family")
        family = FAMILIES.get(request.family)
        entries = [entry for entry in catalog().values() if family in (None, entry.family)]
        # Looks at files, so not on the event loop.
        models = await asyncio.to_thread(lambda: [self._model(entry) for entry in entries])
        kept = [model for model in models if model.available or not request.available_only]
        kept.sort(key=_by_family_and_key)
        return model_pb2.ListModelsResponse(models=kept)

    async def LoadModel(self, request: model_pb2.LoadModelRequest, call: Call) -> model_pb2.LoadModelResponse:
        """Loads a model on every worker."""
        entry = self._named(request.key)
        await self._pool.load(entry.key)
        return model_pb2.LoadModelResponse(model=await asyncio.to_thread(self._model, entry))

    async def UnloadModel(
        self, request: model_pb2.UnloadModelRequest, call: Call
    ) -> model_pb2.UnloadModelResponse:
        """Frees the memory of a model on every worker."""
        entry = self._named(request.key)
        await self._pool.unload(entry.key)
        return model_pb2.UnloadModelResponse(model=await asyncio.to_thread(self._model, entry))

    async def GetStatus(self, request: model_pb2.GetStatusRequest, call: Call) -> model_pb2.GetStatusResponse:
        """The state of the server."""
        status = self._pool.status()
        models = await asyncio.to_thread(self._told_models) if request.with_models else {}
        return model_pb2.GetStatusResponse(
            version=__version__,
            uptime_s=time.monotonic() - self._began,
            workers=[_worker(worker) for worker in status.workers],
            queued=status.queued_count,
            queued_bytes=status.queued_bytes,
            requests=status.total_requests,
            gpu_count=len({each.device for each in status.workers if each.is_alive and is_gpu(each.device)}),
            images=_images(self._images),
            **models,
        )

    def _told_models(self) -> dict[str, list[model_pb2.NamedModel]]:
        """The models of requests that name none, and those to try; looks at files."""
        defaults = default_models(self._profile)
        found = [
            next((each for each in (entry, entry_of(DEMO[entry.family])) if self._is_here(each)), None)
            for entry in defaults
        ]
        return {
            "default_models": [_named(entry) for entry in defaults],
            "models_to_try": [_named(entry) for entry in found if entry],
        }

    def _is_here(self, entry: Entry) -> bool:
        return check(entry, self._place).file is not None

    def _named(self, key: str) -> Entry:
        if not key:
            raise invalid_field("key", "name a model; ListModels shows them all")
        if len(key) > 256:
            raise NotFound("no model has a name of more than 256 characters")
        return entry_of(key)

    def _model(self, entry: Entry) -> model_pb2.Model:
        loaded = Counter(model.name for worker in self._pool.status().workers for model in worker.models)
        return model_pb2.Model(
            key=entry.key,
            family=_family(entry),
            description=entry.description,
            license=entry.licence,
            size_bytes=entry.nbytes,
            available=self._is_here(entry),
            loaded_workers=loaded[entry.key],
        )


def _family(entry: Entry | None) -> model_pb2.Family:
    return getattr(model_pb2, f"FAMILY_{entry.family.upper()}") if entry else model_pb2.FAMILY_UNSPECIFIED


def _named(entry: Entry) -> model_pb2.NamedModel:
    return model_pb2.NamedModel(family=_family(entry), key=entry.key, options=naming(entry))


def _worker(status: WorkerStatus) -> model_pb2.Worker:
    return model_pb2.Worker(
        id=status.id,
        pid=status.pid or 0,
        device=status.device,
        state=str(status.state),
        models=[
            model_pb2.LoadedModel(
                key=model.name,
                names=model.keys,
                size_bytes=model.nbytes,
                family=_family(catalog().get(model.name)),
            )
            for model in status.models
        ],
        batches=status.batches,
        items=status.items,
        restarts=status.restarts,
        precision=status.precision,
        caches=[
            model_pb2.Cache(
                name=cache.name,
                hits=cache.hits,
                misses=cache.misses,
                evictions=cache.evictions,
                entries=cache.entries,
                size_bytes=cache.nbytes,
                limit_bytes=cache.max_bytes,
            )
            for cache in status.caches
        ],
        gpu=None if status.gpu is None else _gpu(status.gpu),
        failed_models=[
            model_pb2.FailedModel(
                key=model.name, reason=model.reason, family=_family(catalog().get(model.name))
            )
            for model in status.failed_models
        ],
    )


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
