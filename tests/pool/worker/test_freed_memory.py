"""When a worker gives the memory back that it has freed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

from featsvc.pool.contract.messages import BatchItem, RunBatch
from featsvc.pool.worker import freed_memory
from featsvc.pool.worker.open_items import OpenItems
from featsvc.pool.workers.process import HOST_ENVIRONMENT

MIB = 1 << 20
START = 500 * MIB
AFTER_S = 30.0


def batch(number: int) -> RunBatch:
    """A batch of one item with the same number."""
    return RunBatch(number, "encode_text", "demo-clip", None, (BatchItem(number, "", None, None),))


class Ended(Exception):
    """No look follows."""


@dataclass
class Look:
    """What has happened when a worker looks at its memory."""

    came: int
    answered: int
    resident: int
    trims: int
    """How often memory has gone back by then."""
    engine_trims: int
    """And that of engines."""


LOOKS = (
    Look(1, 1, START + 600 * MIB, 0, 0),  # work was there since the last look
    Look(1, 1, START + 600 * MIB, 1, 1),
    Look(1, 1, START + 600 * MIB, 1, 1),  # nothing came: what is left is in use
    Look(3, 2, START + 700 * MIB, 1, 1),  # one is not answered
    Look(3, 2, START + 700 * MIB, 1, 1),
    Look(3, 3, START + 700 * MIB, 2, 2),
    Look(9, 8, START + 1800 * MIB, 3, 2),  # much more than at the last time, though it works
    Look(12, 11, START + 1900 * MIB, 3, 2),  # as much as it needs
    Look(15, 14, START + 3000 * MIB, 4, 2),
    Look(15, 15, START + 3000 * MIB, 4, 3),  # engines keep at work what the C library has given back
)


def test_memory_goes_back_once_when_nothing_came_for_long_or_when_it_is_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items, looks, trims, pauses, resident = OpenItems(), iter(LOOKS), list[int](), list[float](), [START]
    engine_trims, past = list[int](), list[Look]()

    def sleep(seconds: float) -> None:
        if past:
            assert (len(trims), len(engine_trims)) == (past[-1].trims, past[-1].engine_trims), past[-1]
        pauses.append(seconds)
        try:
            look = next(looks)
        except StopIteration:
            raise Ended from None
        for number in range(past[-1].came if past else 0, look.came):
            items.add(batch(number))
        for number in range(look.answered):
            items.close(number)
        resident[0] = look.resident
        past.append(look)

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr(freed_memory, "resident_bytes", lambda: resident[0])
    monkeypatch.setattr(freed_memory, "trim", lambda _: trims.append(1))
    with pytest.raises(Ended):
        freed_memory.give_back(items, lambda: engine_trims.append(1), AFTER_S)
    assert len(past) == len(LOOKS)
    assert set(pauses) == {AFTER_S}


FREES_200_MIB = """
import threading
import numpy as np
from featsvc.memory import resident_bytes
from featsvc.pool.worker.freed_memory import give_back
from featsvc.pool.worker.open_items import OpenItems
from tests.pool.worker.test_freed_memory import MIB, batch

items = OpenItems()
threading.Thread(target=give_back, args=(items, lambda: None, 0.05), daemon=True).start()
before = resident_bytes()
items.add(batch(1))
kept = [np.ones(MIB, np.uint8) for _ in range(200)]
top = np.ones(MIB, np.uint8)  # above them, so that the heap cannot shrink
assert resident_bytes() - before > 190 * MIB
del kept
assert resident_bytes() - before > 190 * MIB, "the C library keeps nothing: then this test shows nothing"
items.close(1)
while resident_bytes() - before > 40 * MIB:
    pass
"""


def ran(code: str, **variables: str) -> str:
    """What code prints in a process with the environment of a worker."""
    environment = {**HOST_ENVIRONMENT, "PYTHONPATH": ":".join(sys.path), **variables}
    asked = (sys.executable, "-c", code)
    process = subprocess.run(asked, env=environment, timeout=120, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_what_a_worker_has_freed_is_the_systems_again() -> None:
    ran(FREES_200_MIB)
