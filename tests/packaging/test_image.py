"""The image holds what a server needs, in the versions that the tests ran with."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import lock
from deploy.lock import SERVER, closure, pinned
from tests.servers import ROOT

IMAGE = (ROOT / "deploy" / "requirements.lock").read_text().splitlines()


def test_the_lock_of_the_image_is_the_part_of_the_whole_lock_that_a_server_needs() -> None:
    assert pinned(closure(SERVER)) == IMAGE, "run `make lock`"


def test_a_package_that_is_newly_asked_for_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(lock.PROJECT.read_text().replace("\nrest = [\n", '\nrest = [\n"Not_Yet.Installed>=1",\n'))
    monkeypatch.setattr(lock, "PROJECT", file)
    with pytest.raises(LookupError, match="has no not-yet-installed: pip install"):
        pinned(closure(SERVER))


def test_both_locks_agree_on_every_version() -> None:
    whole = (ROOT / "requirements.lock").read_text().splitlines()
    assert set(IMAGE) <= set(whole)
    assert all(line.count("==") == 1 and "/" not in line for line in whole)


def test_the_image_has_no_tools_of_tests() -> None:
    names = {line.partition("==")[0] for line in IMAGE}
    assert {"torch", "fastapi", "grpcio", "setuptools"} <= names
    assert not names & {
        "pytest",
        "mypy",
        "ruff",
        "schemathesis",
        "grpcio-tools",
        "buf-bin",
        "psutil",
        "hypothesis",
    }


def test_the_image_is_made_of_files_that_exist() -> None:
    words = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines()]
    copied = [source for line in words if line[:1] == ["COPY"] for source in line[1:-1]]
    assert "deploy/requirements.lock" in copied
    assert [source for source in copied if not Path(ROOT, source).exists()] == []
