"""featsvc.v1.ModelService."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from featsvc import __version__
from featsvc.catalog import Entry, WeightsPlace, catalog, check, entry_of
from featsvc.errors import NotFound, invalid_field
from featsvc.pool.protocol import Pool
from featsvc.pool.status import WorkerStatus
from featsvc.server.call import Call
from featsvc.server.store import PictureStore
from featsvc.twin.messages import words
from featsvc.v1 import model_pb2, model_pb2_grpc

FAMILIES = words(model_pb2.Family.DESCRIPTOR)


class ModelService(model_pb2_grpc.ModelServiceServicer):
    """The models of the server and its state."""

    def __init__(self, pool: Pool, place: WeightsPlace, images: PictureStore) -> None:
        self._pool = pool
        self._place = place
        self._images = images
        self._began = time.monotonic()

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, call: Call
    ) -> model_pb2.ListModelsResponse:
        """All models, or those of one service."""
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
        return model_pb2.GetStatusResponse(
            version=__version__,
            uptime_s=time.monotonic() - self._began,
            workers=[_worker(worker) for worker in status.workers],
            queued=status.queued_count,
            queued_bytes=status.queued_bytes,
            requests=status.total_requests,
            gpu_count=len({worker.device for worker in status.workers if worker.device.startswith("cuda")}),
            images=_images(self._images),
        )

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
            family=f"FAMILY_{entry.family.upper()}",
            description=entry.description,
            license=entry.licence,
            size_bytes=entry.nbytes,
            available=check(entry, self._place).found is not None,
            loaded_workers=loaded[entry.key],
        )


def _worker(status: WorkerStatus) -> model_pb2.Worker:
    return model_pb2.Worker(
        id=status.id,
        pid=status.pid or 0,
        device=status.device,
        state=str(status.state),
        models=[
            model_pb2.LoadedModel(key=model.name, names=model.keys, size_bytes=model.nbytes)
            for model in status.models
        ],
        batches=status.batches,
        items=status.items,
        restarts=status.restarts,
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
