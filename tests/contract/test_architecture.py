"""The map names what is there: every name in its text, its walks and its picture is one of the code."""

from __future__ import annotations

import ast
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import pytest

from featsvc.settings.attributes import attributes
from featsvc.settings.tree import Settings
from rest_shim.processes.settings import RunnerSettings
from tests.contract.test_layers import FORBIDDEN, ROOT, sources

PAGE = ROOT / "docs" / "architecture.md"
DRAWN = ROOT / "docs" / "architecture.dot"
PICTURE = ROOT / "docs" / "architecture.svg"
WALKS = re.compile(r"^```mermaid$(.*?)^```$", re.MULTILINE | re.DOTALL)
LABEL = re.compile(r'label="([^"]+)"')
BREAK = re.compile(r"\\[nlr]")
QUOTED = re.compile(r"`([^`\n]+)`")
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
FILE = re.compile(r"(?:featsvc|rest_shim|clients|protos|tests|docs)(?:/[\w.-]+)+")
CAPITAL = re.compile(r"(?<![\w/])[A-Z]\w*[a-z]\w*(?:\.[A-Za-z_]\w*)*")
CALLED = re.compile(r"\b(\w+)\(")
THREAD = re.compile(r"[-_][N\d]$")
# What begins with a capital in the picture and the walks and is a word, or a unit.
WORDS = {"Note", "Hosts", "Pillow", "KiB", "MiB", "Unix"}
# Threads of Python's own, commands, and what is on the wire.
ELSEWHERE = re.compile(
    r"asyncio_N|python|make \w+|featsvc \w+|GET .*|POST .*|/\w+.*|X-[\w-]+|[a-z]+(?:-[a-z]+)+|\.proto|--\w.*"
)


@cache
def members() -> dict[str, set[str]]:
    """What each class has: methods, fields, what is assigned to self, and what its bases have."""
    found: dict[str, set[str]] = defaultdict(set)
    bases: dict[str, set[str]] = defaultdict(set)
    for node in (each for tree in trees() for each in ast.walk(tree) if isinstance(each, ast.ClassDef)):
        found[node.name] |= set(_names(node))
        bases[node.name] |= {base.id for base in node.bases if isinstance(base, ast.Name)}
    for name in found:
        waiting, seen = list(bases[name]), {name}
        while waiting:
            base = waiting.pop()
            if base not in seen:
                seen.add(base)
                found[name] |= found.get(base, set())
                waiting += bases.get(base, ())
    return dict(found)


@cache
def trees() -> tuple[ast.Module, ...]:
    folders = ("featsvc", "rest_shim", "clients/python/featsvc_client", "protos")
    return tuple(
        ast.parse(path.read_text())
        for folder in folders
        for path in sources(folder)
        if "_pb2" not in path.name
    )


def _names(tree: ast.AST) -> Iterator[str]:
    """What is defined in it, and the threads and rpcs that are only texts there."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Constant(value=str(text)) if re.fullmatch(r"[a-z][a-z-]*", text):
                yield text


@cache
def names() -> frozenset[str]:
    return frozenset(name for tree in trees() for name in _names(tree))


def is_there(name: str) -> bool:
    first, *rest = name.split(".")
    if not rest:
        return name in names() or name in members()
    return first in members() and rest[0] in members()[first]


def missing(name: str) -> bool:
    """Whether a quoted text names what is not there."""
    if name.startswith("--"):
        return name.split()[0] not in flags()
    if FILE.fullmatch(name) or name in ("protos", "tests", "rest_shim"):
        return not (ROOT / name).exists()
    if ELSEWHERE.fullmatch(name):
        return False
    if THREAD.search(name):
        # Of a name with a number behind it, the text is what the code has.
        begun = THREAD.sub("", name)
        return not any(text.rstrip("-_") == begun for text in names())
    return DOTTED.fullmatch(name) is not None and not is_there(name)


@cache
def flags() -> frozenset[str]:
    kept = {each.flag for tree in (Settings, RunnerSettings) for each in attributes(tree)}
    return frozenset(kept | {"--end-with-stdin", "--beat", "--workers"})


def drawn() -> list[str]:
    """The texts of the picture and of the walks."""
    labels = LABEL.findall(DRAWN.read_text())
    return [BREAK.sub(" ", "\n".join(labels)), *WALKS.findall(PAGE.read_text())]


def test_the_page_names_what_is_there() -> None:
    text = WALKS.sub("", PAGE.read_text())
    quoted = QUOTED.findall(text)
    assert len(quoted) > 200
    assert [name for name in quoted if missing(name)] == []


def test_the_picture_and_the_walks_name_what_is_there() -> None:
    for text in drawn():
        found = [name for name in CAPITAL.findall(text) if name not in WORDS] + CALLED.findall(text)
        assert len(found) > 5
        assert [name for name in found if not is_there(name)] == []
        assert [path for path in FILE.findall(text) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "name", ["Nothing", "Scheduler.nothing", "nothing_at_all", "--nothing", "rest_shim/nothing"]
)
def test_what_is_not_there_is_found(name: str) -> None:
    assert missing(name)


def test_the_picture_is_drawn_from_the_text_as_it_is() -> None:
    text = DRAWN.read_bytes()
    # As `git hash-object` names it, which `make diagrams` puts into the picture.
    name = hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()
    assert f'id="{name}"' in PICTURE.read_text(), "make diagrams"


def test_the_map_has_every_folder() -> None:
    table = PAGE.read_text().partition("## Folders")[2].partition("\n## ")[0]
    mapped = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in QUOTED.findall(row.split("|")[1])
    }
    folders = {
        str(path.parent.relative_to(ROOT))
        for package in ("featsvc", "rest_shim")
        for path in sources(package)
        if path.name == "__init__.py" and path.parent.name != "featsvc"
    }
    assert len(folders) > 20
    assert folders | FORBIDDEN.keys() <= mapped
    assert [name for name in mapped if not (ROOT / name).exists()] == []


def test_links_lead_to_sections_that_are_there() -> None:
    for page, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", PAGE.read_text()):
        target = (PAGE.parent / page).resolve() if page else PAGE
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, anchor
