"""Flags and variables of the runners."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

import pytest

from featsvc.server.sources import add_flags
from rest_shim.settings import MIB, SHARED, Settings, parsed

FAMILIES = ("clip", "dino", "sam2")
TARGET = "--grpc-target=127.0.0.1:1"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in list(os.environ):
        if name.startswith("FEATSVC_"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_the_documented_ports_are_the_defaults() -> None:
    assert parsed([], FAMILIES).ports == {"clip": 8096, "dino": 8097, "sam2": 8098}
    assert [parsed([], [family]).ports for family in FAMILIES] == [
        {"clip": 8096},
        {"dino": 8097},
        {"sam2": 8098},
    ]


def test_the_documented_command_line_is_understood() -> None:
    words = "--host 0.0.0.0 --port 8096 --workers 4 --api-key production-clip-key --log-level info"
    settings = parsed(words.split(), ["clip"])
    assert (settings.host, settings.ports, settings.workers) == ("0.0.0.0", {"clip": 8096}, 4)
    assert settings.gateway_flags == ("--api-key=production-clip-key", "--log-level=info")


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATSVC_CLIP_PORT", "1")
    monkeypatch.setenv("FEATSVC_MAX_REQUEST_BYTES", "2MiB")
    monkeypatch.setenv("FEATSVC_CORS_ORIGINS", "https://a.example, https://b.example")
    assert parsed([TARGET], ["clip"]) == Settings(
        ports={"clip": 1},
        grpc_target="127.0.0.1:1",
        max_body_bytes=2 * MIB,
        cors_origins=("https://a.example", "https://b.example"),
    )
    assert parsed([TARGET, "--port=2"], ["clip"]).ports == {"clip": 2}


def test_other_flags_are_for_the_gateway_that_is_started() -> None:
    settings = parsed(["--profile=demo", "--port", "1", "--weights-dir", "w"], ["clip"])
    assert settings.gateway_flags == ("--profile=demo", "--weights-dir", "w")


def test_limits_hold_for_the_gateway_that_is_started_too() -> None:
    words = "--timeout 7 --max-reply-bytes 1MiB --max-body-bytes=2M --grace=3.5 --end-with-stdin"
    settings = parsed(words.split(), ["clip"])
    assert (settings.timeout, settings.grace, settings.end_with_stdin) == (7.0, 3.5, True)
    assert (settings.max_reply_bytes, settings.max_body_bytes) == (MIB, 2 * MIB)
    told = {
        "--request-timeout=7.0",
        f"--max-reply-bytes={MIB}",
        f"--max-request-bytes={2 * MIB}",
        "--grace=3.5",
    }
    assert set(settings.gateway_flags) == told
    # What was not typed is left to the gateway's own defaults and variables, and what was typed for it counts.
    assert parsed([], ["clip"]).gateway_flags == ()
    assert parsed(["--request-timeout=9", "--timeout=7"], ["clip"]).gateway_flags[-1] == "--request-timeout=9"


def test_the_gateway_knows_every_flag_that_is_passed_on() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    known = {word for action in parser._actions for word in action.option_strings}
    assert set(SHARED.values()) <= known


def test_a_key_is_not_shown_with_the_settings() -> None:
    assert "much-secret" not in repr(parsed([TARGET, "--api-key=much-secret"], ["clip"]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
@pytest.mark.parametrize("families", [["clip"], FAMILIES])
def test_an_open_host_needs_a_key_of_its_own(
    host: str, families: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed([f"--host={host}"], families)
    told = capsys.readouterr().err
    assert "--api-key" in told
    assert "FEATSVC_API_KEY" in told
    assert parsed([f"--host={host}", "--api-key=mine"], families).refused_key is None
    assert parsed([f"--host={host}", "--api-key=smfeats"], families).refused_key is None
    # The keys of a gateway elsewhere are its own affair, but for the one that everybody knows.
    assert parsed([f"--host={host}", TARGET], families).refused_key == "smfeats"
    monkeypatch.setenv("FEATSVC_API_KEY", "")
    with pytest.raises(SystemExit, match="2"):
        parsed([f"--host={host}"], families)
    monkeypatch.setenv("FEATSVC_API_KEY", "mine")
    assert parsed([f"--host={host}"], families).refused_key is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_loopback_needs_none(host: str) -> None:
    assert parsed([f"--host={host}"], FAMILIES).refused_key is None


@pytest.mark.parametrize(
    "word",
    [
        "--nonsense=1",
        "--workers=0",
        "--log-level=loud",
        "--port=x",
        "--port=65536",
        "--port=-1",
        "--max-body-bytes=1XB",
        "--timeout=nan",
        "--timeout=soon",
    ],
)
def test_a_wrong_flag_is_named(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed([TARGET, word], ["clip"])
    assert word.partition("=")[0] in capsys.readouterr().err


def test_a_wrong_variable_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATSVC_REST_WORKERS", "many")
    with pytest.raises(SystemExit, match="2"):
        parsed([TARGET], ["clip"])
    assert "FEATSVC_REST_WORKERS" in capsys.readouterr().err
