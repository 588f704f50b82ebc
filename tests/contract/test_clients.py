"""Clients in other languages name no parameter: those come with the stubs that are generated again."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from featsvc.v1 import sam2_pb2
from tests.contract.test_layers import parameter_names

ROOT = Path(__file__).parents[2]
# The page is no library: it asks questions of its own, and a name that the documents do not have is no type there.
OTHERS = ("python", "web")
LANGUAGES = sorted(
    path.name for path in (ROOT / "clients").iterdir() if path.is_dir() and path.name not in OTHERS
)
# Generated code, tests and prose may name them.
EXEMPT = re.compile(r"(^|/)(gen|tests?)/|_test\.|\.md$|\.(json|lock|sum)$")
# Replies have it too.
REPLIES = {"point_coords"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_names_no_parameter(language: str) -> None:
    # Single words, such as "text", mean other things too.
    names = sorted(name.replace("_", "_?") for name in parameter_names() - REPLIES if "_" in name)
    named = re.compile(rf"(?<![a-z])(?:[gs]et_?)?({'|'.join(names)})(?![a-z])", re.IGNORECASE)
    files = subprocess.run(
        ["git", "ls-files", f"clients/{language}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    sources = [path for path in files if not EXEMPT.search(path)]
    assert sources
    found = [f"{path}: {match[1]}" for path in sources for match in named.finditer((ROOT / path).read_text())]
    assert found == []


# TypeScript spreads the summary, Python reads it as it comes.
JOINING = (
    "go/chunked.go",
    "java/src/main/java/featsvc/Pieces.java",
    "rust/src/chunked.rs",
    "cpp/src/chunked.cc",
)


@pytest.mark.parametrize("path", JOINING)
def test_a_joined_reply_has_all_that_the_summary_says(path: str) -> None:
    source = (ROOT / "clients" / path).read_text()
    names = {field.name for field in sam2_pb2.MasksSummary.DESCRIPTOR.fields}
    assert "image_orientation" in names
    lost = [name for name in names if not re.search(name.replace("_", "_?"), source, re.IGNORECASE)]
    assert lost == []


# Of java.lang, and what every TypeScript file sees: a message of such a name is ambiguous beside `import featsvc.v1.*`.
EVERYWHERE = re.compile(
    "Array|ArrayBuffer|Boolean|Byte|Character|Class|DataView|Date|Double|Enum|Error|Exception|Float|Function|Integer"
    "|Iterable|Iterator|Long|Map|Math|Module|Number|Object|Override|Package|Process|Promise|Proxy|Readable|Record"
    "|Runtime|Set|Short|String|Symbol|System|Thread|Throwable|Void"
)


def test_no_message_takes_a_name_that_other_languages_have_everywhere() -> None:
    named = re.compile(r"^\s*(?:message|enum|service) (\w+)", re.MULTILINE)
    names = [name for path in (ROOT / "protos").rglob("*.proto") for name in named.findall(path.read_text())]
    assert "SceneObject" in names
    assert [name for name in names if EVERYWHERE.fullmatch(name)] == []
