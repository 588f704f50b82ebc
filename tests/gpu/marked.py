"""Tests that need a GPU, wherever they are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

from tests.gpu.conditions import Conditions
from tests.gpu.rows import Row
from tests.servers import ROOT

MARK = "@pytest.mark.gpu\n"


def marked(conditions: Conditions) -> Iterator[Row]:
    """Runs them; a trial only collects them."""
    # A machine for this may lack what other tests import.
    files = [str(path) for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text()]
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *files]
    asked = subprocess.run(
        [*words, *(["--collect-only"] if conditions.dry else [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = asked.stdout.strip().splitlines()[-1:]
    found = re.search(
        r"(\d+) passed" if not conditions.dry else r"(\d+)(?:/\d+)? tests collected", asked.stdout
    )
    holds = asked.returncode == 0 and found is not None and "skipped" not in "".join(said)
    yield Row("pytest -m gpu", holds, {"files": len(files), "said": "".join(said)})
