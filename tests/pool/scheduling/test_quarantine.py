"""What is remembered of questions that cost workers, and what asking costs."""

from __future__ import annotations

import threading

import pytest

from featsvc.errors import KilledWorkers
from featsvc.pool.scheduling.quarantine import Quarantine
from tests.pool.fakes import FakeParams
from tests.pool.jobs import job


class Question:
    """Notes the threads that hash it."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __hash__(self) -> int:
        self.threads.append(threading.get_ident())
        return 1


async def test_a_question_leaves_the_quarantine_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("featsvc.pool.scheduling.quarantine.time.monotonic", lambda: now)
    quarantine, asked = Quarantine(60), job(question=("a picture",))
    await quarantine.check(asked)
    quarantine.add(asked, KilledWorkers("why"))
    now = 159.0
    with pytest.raises(KilledWorkers, match="why"):
        await quarantine.check(asked)
    now = 160.0
    await quarantine.check(asked)
    quarantine.add(job(), KilledWorkers("nobody knows what it is"))
    await quarantine.check(job())


async def test_parameters_that_python_hashes_alike_are_not_the_same_question() -> None:
    quarantine = Quarantine(60)
    enlarged, whole = (job(params=FakeParams(most=most), question=("a picture",)) for most in (-2, -1))
    quarantine.add(enlarged, KilledWorkers("why"))
    await quarantine.check(whole)
    with pytest.raises(KilledWorkers):
        await quarantine.check(enlarged)


async def test_a_question_is_hashed_only_beside_one_of_its_kind_and_never_by_the_loop() -> None:
    quarantine, other, alike = Quarantine(60), Question(), Question()
    quarantine.add(job(question=("a picture",), nbytes=7), KilledWorkers("why"))
    await quarantine.check(job(question=other, nbytes=8))
    assert other.threads == []
    await quarantine.check(job(question=alike, nbytes=7))
    assert alike.threads
    assert threading.get_ident() not in alike.threads
