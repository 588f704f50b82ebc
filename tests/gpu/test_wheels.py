"""What is brought to a machine that has torch and no network."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from deploy.lock import closure
from tests.gpu.check import SECTIONS
from tests.gpu.marked import MARK
from tests.gpu.wheels import SOURCES, THERE, missing
from tests.servers import ROOT

ROOMY = {"torch", "torchvision", "triton", "numpy", "scipy", "opencv-python-headless"}
OWN = {"featsvc", "featsvc-client"}
IMPORT_THESE = """
import importlib, json, sys

lacking, modules = json.load(sys.stdin)
# Who asks whether there is one finds none, and who imports it fails.
sys.modules.update(dict.fromkeys(lacking))
for each in modules:
    importlib.import_module(each)
"""


def test_what_a_bare_machine_lacks_is_named_with_its_version_and_torch_is_not() -> None:
    versions = dict(each.split("==") for each in missing())
    assert {*SOURCES, "grpcio", "open_clip_torch", "pydantic", "pytest-asyncio", "timm", "uvicorn"} <= set(
        versions
    )
    assert not ROOMY & set(versions)
    assert {each for each in versions if each.startswith(("nvidia", "cuda", "featsvc"))} == {"nvidia-ml-py"}


def lacking() -> set[str]:
    """Names of modules that are installed here, and not on a bare machine with what is brought."""
    brought = {canonicalize_name(each.partition("==")[0]) for each in missing()}
    there = brought | closure(THERE) | OWN
    return {
        module
        for module, packages in packages_distributions().items()
        if not there & {*map(canonicalize_name, packages)}
    }


def run_there() -> set[str]:
    """Modules that the check imports there: sections, their servers, and what pytest imports for marked tests."""
    folder = ROOT / "tests" / "gpu"
    own = {f"tests.gpu.{path.stem}" for path in folder.glob("[a-z]*.py") if not path.stem.startswith("test_")}
    assert {each.path.partition(":")[0] for each in SECTIONS.values()} <= own
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text()]
    around = [folder / "conftest.py" for path in marked for folder in path.parents if ROOT in folder.parents]
    files = [*marked, *filter(Path.exists, around)]
    # What makes the wheels runs elsewhere.
    return own - {"tests.gpu.wheels"} | {
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files
    }


@pytest.mark.slow  # all that a section imports takes seconds
@pytest.mark.timeout(300)
def test_a_bare_machine_imports_all_that_the_check_runs() -> None:
    named = json.dumps([sorted(lacking()), sorted(run_there())])
    words = [sys.executable, "-c", IMPORT_THESE]
    asked = subprocess.run(words, input=named, cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
