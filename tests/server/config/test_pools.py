"""Which pool the settings ask for."""

from __future__ import annotations

import pytest

from featsvc.errors import InvalidArgument
from featsvc.pool.contract.settings import PoolSettings
from featsvc.server.config import pools
from featsvc.server.config.devices import engine_options, pool_settings
from featsvc.settings.kinds import Range
from featsvc.settings.sources import configuration
from featsvc.settings.tree import GatewaySettings


def of_pool(**changes: object) -> PoolSettings:
    settings = configuration(changes, GatewaySettings).settings
    return pool_settings(settings, engine_options(settings))


@pytest.mark.parametrize(
    ("text", "least", "most"), [("4", 4, 4), ("2..16", 2, 16), (" 1..1 ", 1, 1), ("1..9999", 1, 9999)]
)
def test_workers_are_a_number_or_a_range(text: str, least: int, most: int) -> None:
    found = configuration({"ray_workers": text}, GatewaySettings).settings.ray_workers
    assert found == Range(least, most)
    assert configuration({"ray_workers": str(found)}, GatewaySettings).settings.ray_workers == found


@pytest.mark.parametrize("text", ["0", "0..3", "3..2", "-1", "2...3", "2..", "many", "", "99999"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"ray_workers: .* is no number from 1"):
        configuration({"ray_workers": text}, GatewaySettings)


def test_workers_over_ray_have_their_share_and_no_devices_of_this_machine() -> None:
    found = of_pool(
        pool="ray", devices="cuda:7", ray_workers="2..5", gpus_per_worker="0.5", cpus_per_worker="6"
    )
    assert found.devices == ("cuda:0", "cuda:0"), "each sees only its own"
    assert (found.worker_devices, found.most_workers) == (found.devices, 5)
    assert (found.threads_per_worker, found.prepare_threads_per_worker) == (6, 6)
    assert found.max_batch_items == 32, "as on GPUs"


def test_workers_over_ray_without_a_gpu_are_as_those_of_a_cpu() -> None:
    found = of_pool(pool="ray", ray_workers="3", cpus_per_worker="0.5")
    assert found.devices == ("cpu",) * 3
    assert (found.threads_per_worker, found.prepare_threads_per_worker, found.max_batch_items) == (1, 2, 8)


def test_the_number_of_local_workers_is_fixed() -> None:
    assert of_pool(devices="cpu", ray_workers="2..5").most_workers == 0


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "find_spec", lambda name: None)
    settings = configuration({"pool": "ray"}, GatewaySettings).settings
    with pytest.raises(InvalidArgument, match=r"pool: ray is not installed: pip install '\.\[ray\]'"):
        pools.chosen_pool(settings, of_pool(pool="ray"))


def test_a_cluster_for_local_workers_is_a_mistake() -> None:
    settings = configuration({"ray_address": "auto"}, GatewaySettings).settings
    with pytest.raises(InvalidArgument, match=r"ray_address: .* add --pool ray"):
        pools.chosen_pool(settings, of_pool(devices="cpu"))
