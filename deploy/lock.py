"""Prints the lines of requirements.lock that the image needs: what tests, checks and clients use is left out.

`make lock` writes them to deploy/requirements.lock. What featsvc itself needs is read from pyproject.toml: what is
installed may be older.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
SERVER = ("featsvc[server,rest,otel]", "setuptools")
"""What the image runs, and what builds it."""
IMAGE = {"python_version": "3.11", "python_full_version": "3.11.0"}
"""The Python of the image, whichever runs this."""
BESIDE = re.compile(r"featsvc|sam2|nvidia-[^m].*|cuda-.*|triton")
"""What has no line: it is installed by itself, or pinned by torch."""


def closure(asked: Iterable[str]) -> set[NormalizedName]:
    """The names of these and of all that they need in turn, by what pyproject.toml and the installed packages say."""
    waiting = [*map(Requirement, asked)]
    seen: set[tuple[NormalizedName, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _needs(name, extra)
    return {name for name, _ in seen}


def _needs(name: str, extra: str) -> list[Requirement]:
    found = map(Requirement, _ours(extra) if name == "featsvc" else _installed(name))
    return [each for each in found if each.marker is None or each.marker.evaluate(IMAGE | {"extra": extra})]


def _ours(extra: str) -> list[str]:
    project = tomllib.loads(PROJECT.read_text())["project"]
    return [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())]


def requirement_of(name: str) -> str:
    """The line of pyproject.toml about a package that requirements.lock does not have."""
    return next(each for each in _ours("server") if canonicalize_name(Requirement(each).name) == name)


def _installed(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # what another system would need
        return []


def pinned(names: set[NormalizedName]) -> list[str]:
    """The lines of requirements.lock of these packages. Raises LookupError where one has none."""
    lines = {canonicalize_name(line.partition("==")[0]): line for line in LOCK.read_text().splitlines()}
    if absent := sorted(name for name in names - lines.keys() if not BESIDE.fullmatch(name)):
        raise LookupError(
            f"{LOCK.name} has no {', '.join(absent)}: pip install what is new, then `make lock`"
        )
    return [line for name, line in lines.items() if name in names]


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in pinned(closure(SERVER)))
