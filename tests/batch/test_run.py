"""How many run at once on a cluster, and what becomes of a run that is stopped."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.manifest import NAME, Manifest

from featsvc.batch import command, run
from featsvc.batch.run import READ_AHEAD, READ_CPUS, Actors, Run


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


def test_processes_have_the_variables_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    words = ["embed", "in", "--out", "out", "--profile=demo", "--cpus-per-worker=3"]
    each = Actors(1, 1, 3.0, 0.0).each(command._work(command._parsed(words)).boot)
    variables = each.pop("runtime_env")["env_vars"]
    assert each == {"num_cpus": 3.0, "num_gpus": 0.0}
    assert (variables["OMP_NUM_THREADS"], variables["MALLOC_ARENA_MAX"]) == ("3", "7")
    assert variables["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "128"


def test_a_run_that_is_stopped_while_the_sample_is_drawn_fits_and_keeps_no_basis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_fitted", lambda *_: pytest.fail("fitted over a part of the sample"))
    words = ["extract", "dino", str(tmp_path), "--out", str(tmp_path), "--ret-pca", "--pca-sample=3"]
    work: Any = command._work(command._parsed([*words, "--profile=demo"]))
    selection: Any = type("Selection", (), {"stop": threading.Event()})
    selection.stop.set()
    unused: Any = None
    with closing(Manifest(tmp_path / NAME)) as manifest:
        manifest.begin_run("", "")
        stopped = Run(Inputs((str(tmp_path),), 1, tmp_path / "out"), selection, manifest, unused, unused)
        assert stopped.in_one_basis(work, Actors(1, 1, 1.0, 0.0)) is work
        assert not manifest.basis()
