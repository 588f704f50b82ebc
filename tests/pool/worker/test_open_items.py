"""Until when a worker takes an item for wanted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from featsvc.pool.contract.messages import BatchItem, RunBatch
from featsvc.pool.worker import open_items
from featsvc.pool.worker.open_items import OpenItems
from tests.pool.fakes import FakeItem, FakeParams


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_step_of_the_wall_clock_neither_ends_nor_lengthens_the_time_of_an_item(
    monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    wall_s, steady_s = 1_800_000_000.0, 1000.0
    clocks = SimpleNamespace(time=lambda: wall_s, monotonic=lambda: steady_s)
    monkeypatch.setattr(open_items, "time", clocks)
    item = BatchItem(1, "", FakeItem(), left_s=5.0)
    items = OpenItems()
    items.add(RunBatch(1, "fake.run", "m", FakeParams(), (item,)))
    wall_s += step_s
    assert items.is_wanted(item)
    steady_s += 4.0
    assert items.is_wanted(item)
    steady_s += 1.0
    assert not items.is_wanted(item)
