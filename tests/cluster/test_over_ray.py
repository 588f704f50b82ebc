"""Runs the files of `inside`, each in a network of its own; their output is in the report where one fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cluster.cluster import alone, is_alone
from tests.servers import ROOT

INSIDE = Path(__file__).parent / "inside"


@cache
def lacking() -> str:
    """Why Ray cannot be tried here; empty where it can."""
    if find_spec("ray") is None:
        return "ray is not installed: `make test-slow` installs it"
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "no unshare and ip on this machine: without a network of its own Ray would listen on this machine's"
    tried = alone(["true"], ROOT)
    return f"no network of its own may be made here: {tried.stdout.strip()}" if tried.returncode else ""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(is_alone(), reason="this is the one that runs the others")
@pytest.mark.parametrize("name", sorted(path.stem for path in INSIDE.glob("test_*.py")))
def test_in_a_network_of_its_own(name: str) -> None:
    if reason := lacking():
        pytest.skip(reason)
    # On a busy machine a node of Ray takes a minute to start.
    options = ["-p", "no:cacheprovider", "--timeout=600", "-v"]
    words = [sys.executable, "-m", "pytest", *options, str(INSIDE / f"{name}.py")]
    ran: subprocess.CompletedProcess[str] = alone(words, ROOT)
    assert ran.returncode == 0, ran.stdout[-20_000:]
