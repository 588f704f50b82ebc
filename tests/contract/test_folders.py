"""The folders: who may reach whom, no circles, and none that holds too much. Read from the syntax trees."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.contract.test_layers import GRPC, ROOT, TORCH, sources, within

MOST_MODULES = 20
PACKAGES = ("featsvc", "rest_shim")
# gRPC's own packages; protobuf alone is what messages are made of.
CALLS = tuple(each for each in GRPC if each.startswith("grpc"))
FARTHEST = {
    "featsvc.work": (*TORCH, *CALLS),
    "featsvc.codec": (*TORCH, *CALLS),
    "featsvc.pool": (*TORCH, *CALLS, "featsvc.engines", "featsvc.server"),
    "featsvc.engines": CALLS,
    "featsvc.server": (*TORCH, "featsvc.engines"),
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {name_of(path): path for package in PACKAGES for path in sources(package)}


def imported(path: Path) -> Iterator[str]:
    """What a file imports, wherever in it: our own modules by their full name, of others what is written."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules() else node.module


@cache
def arrows() -> dict[str, frozenset[str]]:
    return {name: frozenset(imported(path)) - {name} for name, path in modules().items()}


def reached(start: str) -> set[str]:
    """All that importing a module brings with it, the packages on the way included."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += arrows().get(name, ())
        if name in arrows() and "." in name:
            waiting.append(name.rpartition(".")[0])
    return found


def members(package: str) -> list[str]:
    return [name for name in modules() if within(name, (package,))]


@pytest.mark.parametrize("package", FARTHEST)
def test_a_layer_brings_nothing_with_it_that_it_may_not_know(package: str) -> None:
    assert members(package)
    found = {
        f"{name}: {other}"
        for name in members(package)
        for other in reached(name)
        if within(other, FARTHEST[package])
    }
    assert found == set()


def folder_of(name: str) -> str:
    path = modules()[name]
    return ".".join(path.relative_to(ROOT).parent.parts)


def between_folders() -> dict[str, dict[str, str]]:
    """Folder to the folders it needs, with one import as an example.

    Modules that nobody imports are left out: programs, which stand in a folder and close no circle.
    """
    asked = {other for others in arrows().values() for other in others}
    needs: dict[str, dict[str, str]] = defaultdict(dict)
    for name in modules():
        if name not in asked:
            continue
        for other in arrows()[name]:
            if other in modules() and folder_of(other) != folder_of(name):
                needs[folder_of(name)].setdefault(folder_of(other), f"{name} -> {other}")
    return needs


def test_folders_form_no_circle() -> None:
    needs = between_folders()
    assert len(needs) > 10
    done: set[str] = set()

    def visit(folder: str, way: tuple[str, ...]) -> None:
        assert folder not in way, "\n".join(
            needs[one][two]
            for one, two in zip(
                way[way.index(folder) :], (*way[way.index(folder) + 1 :], folder), strict=True
            )
        )
        if folder not in done:
            for other in needs.get(folder, ()):
                visit(other, (*way, folder))
            done.add(folder)

    for folder in list(needs):
        visit(folder, ())


def test_no_folder_holds_more_than_can_be_seen_at_once() -> None:
    held: dict[str, int] = defaultdict(int)
    for name, path in modules().items():
        if path.name != "__init__.py":
            held[folder_of(name)] += 1
    assert {folder: count for folder, count in held.items() if count > MOST_MODULES} == {}


def test_every_folder_of_modules_says_what_it_is() -> None:
    for path in modules().values():
        init = path.parent / "__init__.py"
        assert init.exists(), f"{path.parent.relative_to(ROOT)} is no package"
        assert ast.get_docstring(ast.parse(init.read_text())), f"{init.relative_to(ROOT)} has no docstring"
