"""What is installed is what the projects ask for, and what they ask for ends somewhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "tests/bench/requirements.lock")
"""The second has what only slow tests and the benchmark use."""
LOCK = {
    canonicalize_name(name): version
    for lock in LOCKS
    for name, _, version in (line.partition("==") for line in (ROOT / lock).read_text().splitlines())
}
INSTALLED_BESIDE = ("sam2", "featsvc")
"""The Makefile installs these by themselves."""


def asked(path: str) -> dict[str, list[Requirement]]:
    """Requirements by extra; those of all are under an empty name."""
    project = tomllib.loads((ROOT / path).read_text())["project"]
    groups = {"": project["dependencies"]} | project["optional-dependencies"]
    return {name: [Requirement(each) for each in group] for name, group in groups.items()}


OURS, CLIENT = asked("pyproject.toml"), asked("clients/python/pyproject.toml")


@pytest.mark.parametrize(
    "requirement",
    [
        each
        for groups in (OURS, CLIENT)
        for name, group in groups.items()
        for each in group
        if name != "bench"
    ],
    ids=str,
)
def test_the_lock_has_a_version_that_is_asked_for(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    if name not in INSTALLED_BESIDE:
        assert requirement.specifier.contains(LOCK[name]), LOCK[name]


@pytest.mark.parametrize("extra", ["", "server", "rest", "ray"])
def test_what_a_server_needs_has_an_upper_bound(extra: str) -> None:
    endless = [
        str(each)
        for each in OURS[extra]
        if not any(part.operator in ("<", "<=", "==", "~=") for part in each.specifier)
    ]
    assert endless == []


def test_the_next_open_clip_is_not_taken() -> None:
    (open_clip,) = (each for each in OURS["server"] if each.name == "open_clip_torch")
    assert not open_clip.specifier.contains("3.4.0")
