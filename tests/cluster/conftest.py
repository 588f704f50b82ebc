"""Tests that start Ray run only where they reach no other machine, and none reaches them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, is_alone

# An empty list: all of the folder is collected.
collect_ignore = [] if is_alone() else ["inside"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without nodes, for the drivers of this process and of those it starts."""
    folder: Path = tmp_path_factory.mktemp("ray")
    with Cluster(folder) as cluster:
        os.environ.update(cluster.environment)
        yield cluster
