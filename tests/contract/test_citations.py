"""Comments and documents cite only what is in the tree: files by their paths, classes and functions by their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = re.compile(
    r"\b(?:featsvc|rest_shim|tests|protos|docs|deploy|clients)/[\w./-]*\w\.(?:py|md|proto|toml|yaml|json|jpg|png|svg|dot)\b"
)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)")
PLACES = re.compile(r"^\*\*Where\.\*\*.*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`(\w+)(?:\.(\w+))?`")
NAMED_IN = re.compile(r"`(\w+)(?:\.(\w+))?`\s(?:of|in)\s`[\w/]+\.py`")
DEFINED = re.compile(r"^[ \t]*(?:(?:async )?(?:class|def) (\w+)|(?:self\.)?(\w+)(?::| =))", re.MULTILINE)
ELSEWHERE = re.compile(r"\b[A-Z]{4,}(?:\.md)? section \d")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
EXPLAINING = [*(ROOT / "docs" / "decisions").glob("*.md"), ROOT / "docs" / "formulas.md"]
INDEX = "README.md"


def sources() -> dict[str, str]:
    """The text of each file of Python that is ours, by its path."""
    paths = [
        path
        for folder in ("featsvc", "rest_shim", "tests", "protos", "clients/python")
        for path in (ROOT / folder).rglob("*.py")
        if not path.name.endswith("_pb2.py") and "build" not in path.parts and path != Path(__file__)
    ]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def relative(paths: list[Path]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def is_there(path: str) -> bool:
    """Also as the proto files import each other."""
    return (ROOT / path).exists() or (ROOT / "protos" / path).exists()


@pytest.mark.parametrize("name", relative(PAGES))
def test_a_page_names_files_that_are_there(name: str) -> None:
    page = ROOT / name
    text = page.read_text()
    missing = [path for path in PATH.findall(text) if not is_there(path)]
    missing += [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert not missing


def test_comments_name_files_that_are_there() -> None:
    missing = [
        f"{source}: {named}"
        for source, text in sources().items()
        for named in PATH.findall(text) + ELSEWHERE.findall(text)
        if not is_there(named)
    ]
    assert not missing


def test_every_decision_says_where_it_is_in_the_code() -> None:
    pages = [page for page in EXPLAINING if page.parent.name == "decisions" and page.name != INDEX]
    assert pages
    for page in pages:
        assert NAMED.search("".join(PLACES.findall(page.read_text()))), page.name
        assert f"({page.name})" in (page.parent / INDEX).read_text()


def test_explanations_name_classes_and_functions_that_are_there() -> None:
    code = "\n".join(text for source, text in sources().items() if not source.startswith("tests/engines/"))
    defined = {name for names in DEFINED.findall(code) for name in names}
    for page in EXPLAINING:
        text = page.read_text()
        for parts in NAMED.findall("".join(PLACES.findall(text))) + NAMED_IN.findall(text):
            for part in filter(None, parts):
                assert part in defined, f"{page.name}: {part}"
