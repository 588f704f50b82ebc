"""What a caller may do with a model, in words that say what it lacks."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from featsvc.catalog import Entry, WeightsPlace, check
from featsvc.errors import Forbidden, WeightsMissing
from featsvc.work.caller import Caller

FEW = 5
# Weights that were there may be deleted, and would then be downloaded for whoever asks.
KEPT_S = 1.0
# What is asked while a download goes on has none begun.
DOWNLOAD_S = 60.0


def check_model(caller: Caller, entry: Entry) -> None:
    """Raises Forbidden where the caller may not use the model."""
    if not caller.may_use(entry.key):
        known = sorted(caller.models)
        more = ", …" if len(known) > FEW else ""
        raise Forbidden(
            f"the key {caller.name!r} may not use the model {entry.key}: it may use {', '.join(known[:FEW])}{more}"
        )


class WeightsHere:
    """Whether the weights of models are on this machine: where they are not, admins alone have them downloaded."""

    def __init__(self, place: WeightsPlace, now: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._now = now
        self._found_at: dict[str, float] = {}
        self._begun_at: dict[tuple[str, str], float] = {}  # by caller and model

    async def check(self, caller: Caller, entry: Entry) -> None:
        """Raises WeightsMissing where they would have to be downloaded, and the caller is no admin."""
        if not caller.is_admin and not await self._are_here(entry):
            raise WeightsMissing(
                f"{entry.key}: its weights are not on the server, and the key {caller.name!r} may not have them "
                "downloaded: LoadModel by a key with the role admin does it"
            )

    async def begins_download(self, caller: Caller, entry: Entry) -> bool:
        """Whether a question of the caller has them downloaded, and none has in the last `DOWNLOAD_S`."""
        if not caller.is_admin or self._place.offline or entry.weights.bundled or await self._are_here(entry):
            return False
        asked, now = (caller.name, entry.key), self._now()
        if now - self._begun_at.get(asked, -math.inf) < DOWNLOAD_S:
            return False
        self._begun_at[asked] = now
        return True

    async def _are_here(self, entry: Entry) -> bool:
        now = self._now()
        if now - self._found_at.get(entry.key, -math.inf) < KEPT_S:
            return True
        # Looks at files, so not on the event loop.
        if (await asyncio.to_thread(check, entry, self._place)).file is None:
            return False
        self._found_at[entry.key] = now
        return True
