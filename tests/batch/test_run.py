"""How many run at once on a cluster."""

from __future__ import annotations

import pytest

from featsvc.batch.run import READ_AHEAD, READ_CPUS, Actors


@pytest.mark.parametrize(
    ("least", "cpus", "cluster", "wanted"),
    [
        (1, 1.0, 2.0, {"num_cpus": READ_CPUS}),
        (2, 0.5, 1.25, {"num_cpus": READ_CPUS}),
        (2, 1.0, 2.0, {"num_cpus": 0, "concurrency": 2 * READ_AHEAD}),
        (2, 0.5, 1.0, {"num_cpus": 0, "concurrency": 2 * READ_AHEAD}),
    ],
)
def test_tasks_that_read_want_no_cpu_where_actors_have_all(
    least: int, cpus: float, cluster: float, wanted: dict[str, float]
) -> None:
    assert Actors(least, least, cpus, 0.0).reading(cluster) == wanted
