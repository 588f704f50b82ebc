"""Batches by device: how large they are, and how many are prepared ahead."""

from __future__ import annotations

import os
from typing import Any

import pytest

from featsvc.pool.contract.messages import Boot
from featsvc.pool.contract.settings import PoolSettings
from featsvc.server.config import devices as places
from featsvc.settings.tree import Settings
from featsvc.work.operations import ENCODE_TEXT, EXTRACT_CLIP


def pool_of(**values: Any) -> PoolSettings:
    settings = Settings(**values)
    return places.pool_settings(settings, places.engine_options(settings))


@pytest.mark.parametrize(
    ("devices", "pictures", "texts"), [("cpu:2", 8, 8), ("cuda:0", 32, 256), ("cpu,cuda:0", 32, 256)]
)
def test_a_batch_is_larger_where_there_is_a_gpu_and_of_texts_most_of_all(
    devices: str, pictures: int, texts: int
) -> None:
    pool = pool_of(devices=devices)
    assert pool.most_items(EXTRACT_CLIP.per_picture) == pictures
    assert pool.most_items(ENCODE_TEXT.per_picture) == texts
    assert pool_of(devices=devices, max_batch=5).most_items(EXTRACT_CLIP.per_picture) == 5


@pytest.mark.parametrize(
    ("devices", "cores", "threads", "slots"),
    [
        ("cpu", 16, 2, 2),
        ("cpu:2", 16, 2, 2),
        ("cuda:0", 16, 16, 4),
        ("cuda:0,cuda:1", 16, 8, 4),
        ("cuda:0,cuda:1", 6, 3, 3),
        ("cuda:0,cuda:1", 2, 2, 3),
    ],
)
def test_a_gpu_has_the_cores_to_prepare_batches_ahead_of_it(
    devices: str, cores: int, threads: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    pool = pool_of(devices=devices)
    boot = Boot.of(0, devices, pool)
    assert (boot.prepare_threads, boot.prepared_at_once) == (threads, slots - 1)
    assert pool.slots_per_worker == slots
    own = pool_of(devices=devices, prepare_threads=5, slots=7)
    assert (own.prepare_threads_per_worker, own.slots_per_worker) == (5, 7)
