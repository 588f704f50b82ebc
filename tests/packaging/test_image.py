"""The image holds what a server needs, in the versions that the tests ran with."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from deploy import lock
from deploy.lock import SERVER, closure, pinned
from featsvc.errors import InvalidArgument
from featsvc.server.config.machine import LEAST_FILES
from featsvc.settings.kinds import parts
from featsvc.settings.sources import check_own_key
from featsvc.settings.tree import GatewaySettings
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


def hashed(name: str) -> dict[str, list[str]]:
    """The hashes of each line of a file of deploy."""
    lines = (ROOT / "deploy" / name).read_text().replace("\\\n", " ").splitlines()
    return {words[0]: words[1:] for words in map(str.split, lines)}


def test_what_the_image_installs_has_hashes_of_its_files() -> None:
    found = hashed("requirements.hashes")
    assert {canonical(line) for line in IMAGE} <= {canonical(line) for line in found}, "run `make lock`"
    assert any(line.startswith("nvidia-") for line in found), "what torch pins is there too"
    for hashes in (*found.values(), *hashed("sam2.hashes").values()):
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes)
    (sam2,) = hashed("sam2.hashes")
    assert sam2 in (ROOT / "pyproject.toml").read_text()


def test_ray_comes_with_the_versions_that_the_tests_ran_with() -> None:
    locks = (ROOT / "requirements.lock", ROOT / "tests" / "bench" / "requirements.lock")
    known = {canonical(line) for path in locks for line in path.read_text().splitlines()}
    found = hashed("ray.hashes")
    assert {canonical(line) for line in found} <= known, "run `make lock`"
    assert all(found.values())
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "ARG RAY" in lines, "left out unless somebody wants it"


def canonical(line: str) -> str:
    name, _, version = line.partition("==")
    return f"{canonicalize_name(name)}=={version}"


def test_the_image_is_pinned_checked_and_not_of_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert any(re.fullmatch(r"ARG BASE=[\w.:-]+@sha256:[0-9a-f]{64}", line) for line in lines)
    assert [line for line in lines if line.startswith("FROM ")] == ["FROM ${BASE}"]
    assert "ARG REQUIREMENTS=requirements.hashes" in lines
    assert [line for line in lines if line.startswith("USER ")] == ["USER featsvc"]
    assert lines.index("USER featsvc") < next(n for n, line in enumerate(lines) if line.startswith("CMD "))
    (port,) = (line.partition("FEATSVC_METRICS_PORT=")[2] for line in lines if line.startswith("ENV "))
    (check,) = (after for line, after in pairwise(lines) if line.startswith("HEALTHCHECK "))
    assert f"http://127.0.0.1:{port}/readyz" in check


def test_compose_bounds_what_the_server_may_take_and_starts_it_again() -> None:
    (service,) = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"].values()
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["ulimits"]["nofile"] >= LEAST_FILES
    assert {"mem_limit", "pids_limit", "stop_grace_period"} <= service.keys()
    assert "/tmp" in service["tmpfs"], "the one folder that must be writable beside the volume"


@pytest.mark.parametrize(("name", "value"), [("FEATSVC_API_KEY", "a-key"), ("KEYS", "/srv/keys"), ("", "")])
def test_compose_hands_a_key_or_a_file_of_keys_over_and_without_one_the_server_refuses_to_start(
    name: str, value: str
) -> None:
    """As Compose fills variables in; Docker itself is not here."""
    given = {name: value}

    def filled(text: str) -> str:
        def one(match: re.Match[str]) -> str:
            has = bool(given.get(match["name"]))
            return match["other"] if has == (match["sign"] == "+") else given.get(match["name"], "")

        return re.sub(r"\$\{(?P<name>\w+):(?P<sign>[-+])(?P<other>[^}]*)\}", one, text)

    (service,) = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"].values()
    variables = {each: filled(text) for each, text in service["environment"].items()}
    settings = GatewaySettings(
        host="0.0.0.0",
        api_key=parts(variables["FEATSVC_API_KEY"]),
        api_key_file=variables["FEATSVC_API_KEY_FILE"],
    )
    if not name:
        with pytest.raises(InvalidArgument, match="FEATSVC_API_KEY or --api-key-file"):
            check_own_key(settings)
        return
    check_own_key(settings)
    if name == "KEYS":
        assert "/srv/keys:/keys:ro" in map(filled, service["volumes"])
        assert Path(settings.api_key_file).parent == Path("/keys")


def test_the_image_is_made_of_files_that_exist() -> None:
    words = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines()]
    copied = [source for line in words if line[:1] == ["COPY"] for source in line[1:-1]]
    assert "deploy/requirements.lock" in copied
    assert [source for source in copied if not Path(ROOT, source).exists()] == []
