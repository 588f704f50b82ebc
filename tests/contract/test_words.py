"""One word, one thing: names that were given up do not come back."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.test_layers import ROOT, sources

RETIRED = {
    "aboard": "in flight",
    "berth": "in flight",
    "board": "in flight",
    "cargo": "batch item",
    "carry": "dispatch",
    "company": "batch group",
    "delivered": "completed",
    "dock": "observer",
    "lives": "restart backoff",
    "shelf": "free list, or pinned model",
    "subject": "affinity key",
    "ticket": "position in the queue",
    "topic": "affinity group",
}
PHRASES = {"on board": "in flight", **{word: RETIRED[word] for word in ("aboard", "berth", "cargo", "shelf")}}
FOLDERS = ("featsvc", "rest_shim", "clients/python/featsvc_client")
IN_JSON = "a result, and its form in JSON under the name that the API document shows"
SHARED = dict.fromkeys(
    (
        "DescribedObject",
        "Features",
        "ImageEmbedding",
        "Mask",
        "ObjectMatch",
        "ObjectMatches",
        "ObjectVectors",
        "PromptMasks",
        "Rounding",
    ),
    IN_JSON,
)


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
def test_no_name_is_made_of_a_retired_word(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}: say {RETIRED[word]}"
        for path in sources(folder)
        for name in _names(ast.parse(path.read_text()))
        for word in _words(name) & RETIRED.keys()
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_comment_or_string_says_a_retired_phrase(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {phrase}: say {instead}"
        for path in sources(folder)
        for text in _texts(path)
        for phrase, instead in PHRASES.items()
        if re.search(rf"\b{phrase}\b", text, re.IGNORECASE)
    ]
    assert found == []


def test_no_two_modules_have_a_class_of_one_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in (*sources("featsvc"), *sources("rest_shim")):
        # Those of the contract are generated under the names that it has.
        if path.parent != ROOT / "featsvc" / "v1":
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes[node.name].append(str(path.relative_to(ROOT)))
    double = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert {name: modules for name, modules in double.items() if name not in SHARED} == {}
    assert SHARED.keys() <= double.keys()


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def _texts(path: Path) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.string
