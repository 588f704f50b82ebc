"""Comments, docstrings and documents name only modules, folders and files that are there."""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Paths of the tree begin with one of its folders, and end with what only files and folders have.
BUILT = ("build", "dist", "node_modules", "target", "__pycache__")
PATH = re.compile(
    r"(?<![\w./-])(?:\.\./)*((?:featsvc|rest_shim|tests|clients|docs|protos|deploy)(?:/[\w.-]*\w)+)"
)
FILE = re.compile(r"(?<![\w./*-])(\w+\.(?:py|md|proto))\b(?!\()")
MODULE = re.compile(r"(?<![\w./-])((?:featsvc|rest_shim|tests)\.[a-z_]\w*(?:\.\w+)*)")
PAGE = re.compile(r"\b[A-Z]{4,}(?:'s|\.md)? [Ss]ection \d+|\b[Ss]ection \d+|§")
# No paths and modules of this tree: packages of other languages, services on the wire, files that are made, patterns.
ELSEWHERE = re.compile(
    r"featsvc/(?:gen|messages|arrays|featsvc\.h)\b|featsvc\.v\d(?:\.[A-Z]\w*|\b(?!\.))|featsvc\.toml|\w+/[A-Z]+\b(?![\w./])"
)


@cache
def files() -> tuple[str, ...]:
    """Every file of the tree by its path, without what builds leave."""
    found: list[str] = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [each for each in below if each not in BUILT and not each.startswith(".")]
        found += (str((Path(folder) / name).relative_to(ROOT)) for name in names)
    return tuple(sorted(found))


@cache
def paths() -> frozenset[str]:
    """Every file and folder."""
    return frozenset(str(each) for name in files() for each in (Path(name), *Path(name).parents))


def prose(name: str) -> Iterator[tuple[int, str]]:
    """What a file says to people, with its lines."""
    text = (ROOT / name).read_text()
    if name.endswith(".md"):
        yield from enumerate(text.splitlines(), 1)
    elif name.endswith(".proto"):
        yield from (
            (at, line.partition("//")[2]) for at, line in enumerate(text.splitlines(), 1) if "//" in line
        )
    else:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                value = node.value.value
                if isinstance(value, str):
                    yield node.lineno, value


def documents() -> list[str]:
    """Every file with prose, but for generated code."""
    return [
        name
        for name in files()
        if name.endswith((".py", ".md", ".proto"))
        and not name.startswith("featsvc/v1/")
        and name != "tests/contract/test_named_modules.py"
    ]


def is_module(dotted: str) -> bool:
    """Whether it is a module, or a name that a module has."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        base = "/".join(parts[:count])
        path = f"{base}.py" if f"{base}.py" in paths() else f"{base}/__init__.py"
        if path in paths():
            return count == len(parts) or parts[count] in names_of(path)
    return False


@cache
def names_of(path: str) -> frozenset[str]:
    """What a module defines or imports."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {alias.asname or alias.name for alias in names}
            case ast.Assign() | ast.AnnAssign():
                found |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return frozenset(found)


def mistakes(name: str, text: str) -> Iterator[str]:
    """What a text cites that is not there."""
    text = ELSEWHERE.sub(" ", text)
    near = str(Path(name).parent)
    for (found,) in (hit.groups() for hit in PATH.finditer(text)):
        # A client's pages name paths of their own folder, those about the contract what is below protos/.
        if not {found, f"{near}/{found}", f"protos/{found}"} & paths():
            yield found
    for (found,) in (hit.groups() for hit in MODULE.finditer(text)):
        if not is_module(found):
            yield found
    for (found,) in (hit.groups() for hit in FILE.finditer(text)):
        if not any(path == found or path.endswith(f"/{found}") for path in paths()):
            yield found
    yield from (hit[0] for hit in PAGE.finditer(text))


def test_what_is_named_is_there() -> None:
    assert len(documents()) > 100
    found = [
        f"{name}:{line}: {each}"
        for name in documents()
        for line, text in prose(name)
        for each in mistakes(name, text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("as in featsvc/engines/nothing", ["featsvc/engines/nothing"]),
        ("see featsvc.engines.nothing.at_all", ["featsvc.engines.nothing.at_all"]),
        ("see nowhere.md", ["nowhere.md"]),
        ("as section 5 says", ["section 5"]),
        ("as docs/rest-api.md and featsvc.errors.FeatsvcError say", []),
    ],
)
def test_what_is_not_there_is_found(text: str, cited: list[str]) -> None:
    assert list(mistakes("README.md", text)) == cited
