"""What has cost workers lately, so that it is not tried once more."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from featsvc.errors import KilledWorkers, TookTooLong
from featsvc.pool.contract.job import AnyJob

MOST = 1024
Cost = KilledWorkers | TookTooLong


Kind = tuple[str, str, int]  # what is known of a question without hashing it


@dataclass(frozen=True)
class _Case:
    error: Cost
    kind: Kind
    until: float


class Quarantine:
    """Jobs by what they ask, each with the error that a caller gets who asks the same again."""

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self._cases: OrderedDict[int, _Case] = OrderedDict()  # the oldest first

    def add(self, job: AnyJob, error: Cost) -> None:
        """Remember a job for a while."""
        if job.question is None or not self._duration_s:
            return
        until = time.monotonic() + self._duration_s
        asked = _fingerprint(job)
        self._cases.pop(asked, None)  # or it would keep its old place among the oldest
        self._cases[asked] = _Case(error, _kind(job), until)
        if len(self._cases) > MOST:
            self._cases.popitem(last=False)

    async def check(self, job: AnyJob) -> None:
        """Raises the error that the same question has had."""
        while self._cases and next(iter(self._cases.values())).until <= time.monotonic():
            self._cases.popitem(last=False)
        kind = _kind(job)
        if job.question is None or not any(case.kind == kind for case in self._cases.values()):
            return
        # Hashing megabytes would hold up everybody.
        if case := self._cases.get(await asyncio.to_thread(_fingerprint, job)):
            raise type(case.error)(case.error.message)


def is_same(job: AnyJob, other: AnyJob) -> bool:
    """Whether two jobs ask the same."""
    if job.question is None or _kind(job) != _kind(other):
        return False
    return (job.params, job.question) == (other.params, other.question)


def _kind(job: AnyJob) -> Kind:
    return job.operation.rpc, job.model, job.nbytes


def _fingerprint(job: AnyJob) -> int:
    """The hash alone: the question itself may hold megabytes."""
    # Python hashes -1 and -2 alike, and both are sizes that parameters may have.
    return hash((job.operation.rpc, job.model, repr(job.params), job.question))
