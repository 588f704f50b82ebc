"""docs/grpcurl.md: its very commands, and what it says they print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from featsvc.twin.methods import FILES
from tests.conformance.runners import PATH, ROOT, foreign
from tests.servers import KEY, Server

BLOCKS = re.findall(
    r"^```console\n(.*?)^```", (ROOT / "docs" / "grpcurl.md").read_text(), re.DOTALL | re.MULTILINE
)
# A first build of it compiles gRPC.
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would be: with a picture and the contract."""
    path: Path = tmp_path_factory.mktemp("grpcurl")
    shutil.copy(ROOT / "docs" / "scene.jpg", path / "image.jpg")
    (path / "protos").symlink_to(ROOT / "protos")
    return path


@pytest.fixture(scope="module")
def search_path() -> str:
    """Where the shell finds grpcurl, which is built if need be."""
    if shutil.which("jq") is None:
        pytest.skip("grpcurl: no jq on this machine")
    foreign("grpcurl")
    return PATH


def test_the_page_has_commands() -> None:
    assert len(BLOCKS) > 5


def test_the_page_calls_every_service() -> None:
    services = [name for file in FILES for name in file.DESCRIPTOR.services_by_name]
    assert [name for name in services if not re.search(rf"featsvc\.v1\.{name}/\w", "".join(BLOCKS))] == []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0][2:60])
def test_the_commands_print_what_the_page_says(
    block: str, demo_server: Server, folder: Path, search_path: str
) -> None:
    lines = block.splitlines()
    script = "\n".join(line[2:] for line in lines if line.startswith("$ "))
    script = script.replace("localhost:50051", demo_server.target).replace("smfeats", KEY)
    printed = "\n".join(line for line in lines if not line.startswith("$ "))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": search_path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    expected = ".*?".join(map(re.escape, printed.split("…")))
    assert re.fullmatch(expected, done.stdout.strip("\n"), re.DOTALL), done.stdout
