"""Flags and variables of the runners."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from featsvc.settings.attributes import attributes
from featsvc.settings.flags import add_flags
from featsvc.settings.kinds import MIB
from featsvc.settings.sources import exposure
from featsvc.settings.tree import GatewaySettings
from rest_shim.processes.settings import Runner, RunnerSettings, gateway_tls, parsed
from tests.authority import Authority

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
    found = parsed(words.split(), ["clip"])
    assert (found.settings.host, found.ports, found.settings.rest_workers) == ("0.0.0.0", {"clip": 8096}, 4)
    # A command line is open to every user of the machine: keys go by the environment.
    assert found.gateway_flags == ("--log-level=info",)
    assert found.has_typed_key
    assert not parsed(["--api-key=smfeats"], ["clip"]).has_typed_key


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATSVC_CLIP_PORT", "1")
    monkeypatch.setenv("FEATSVC_MAX_REQUEST_BYTES", "2MiB")
    monkeypatch.setenv("FEATSVC_CORS_ORIGINS", "https://a.example, https://b.example")
    assert parsed([TARGET], ["clip"]) == Runner(
        settings=RunnerSettings(
            clip_port=1,
            grpc_target="127.0.0.1:1",
            max_request_bytes=2 * MIB,
            cors_origins=("https://a.example", "https://b.example"),
        ),
        ports={"clip": 1},
    )
    assert parsed([TARGET, "--port=2"], ["clip"]).ports == {"clip": 2}


def test_other_flags_are_for_the_gateway_that_is_started() -> None:
    found = parsed(["--profile=demo", "--port", "1", "--weights-dir", "w"], ["clip"])
    assert found.gateway_flags == ("--profile=demo", "--weights-dir", "w")


def test_limits_hold_for_the_gateway_that_is_started_too() -> None:
    words = "--timeout 7 --max-body-bytes=2M --grace=3.5 --end-with-stdin"
    found = parsed(words.split(), ["clip"])
    assert (found.settings.request_timeout, found.settings.grace, found.end_with_stdin) == (7.0, 3.5, True)
    assert found.settings.max_request_bytes == 2 * MIB
    assert set(found.gateway_flags) == {"--request-timeout=7", "--max-request-bytes=2M", "--grace=3.5"}
    # What was not typed is left to the gateway's own defaults and variables.
    assert parsed([], ["clip"]).gateway_flags == ()


def test_the_gateways_name_of_a_flag_is_the_same_flag() -> None:
    found = parsed(["--timeout=7", "--request-timeout=9", "--rest-workers=2", "--clip-port=3"], ["clip"])
    assert (found.settings.request_timeout, found.gateway_flags) == (9.0, ("--request-timeout=9",))
    assert (found.settings.rest_workers, found.ports) == (2, {"clip": 3})


def test_json_has_a_limit_of_its_own_and_messages_keep_that_of_the_gateway() -> None:
    assert parsed([], ["sam2"]).settings.max_json_bytes == 4096 * MIB
    found = parsed(["--max-json-bytes=1MiB", "--max-reply-bytes=2MiB"], ["sam2"])
    assert found.settings.max_json_bytes == MIB
    assert found.gateway_flags == ("--max-reply-bytes=2MiB",)


def test_the_gateway_knows_every_flag_that_is_passed_on() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, attributes(GatewaySettings))
    words = "--timeout=7 --max-body-bytes=2M --grace=3.5 --api-key=a --api-key-file=b --log-level=info"
    typed = parsed([*words.split(), "--log-format=json", "--config=/dev/null"], ["clip"]).gateway_flags
    assert len(typed) == 7
    parser.parse_args(typed)


def test_the_file_of_a_gateway_is_read_and_its_other_settings_are_left_to_it(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text('clip-port = 1\nmax_queue = 7\nkeep_alive = 5\ncors_origins = ["https://a.example"]\n')
    found = parsed([TARGET, f"--config={file}"], ["clip"])
    assert (found.ports, found.settings.keep_alive) == ({"clip": 1}, 5.0)
    assert found.settings.cors_origins == ("https://a.example",)


def test_the_grace_is_one_for_ports_and_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed([], ["clip"]).settings.grace == GatewaySettings.grace
    monkeypatch.setenv("FEATSVC_GRACE", "3")
    found = parsed([], ["clip"])
    assert (found.settings.grace, found.gateway_flags) == (3.0, ())
    found = parsed(["--grace=4"], ["clip"])
    assert (found.settings.grace, found.gateway_flags) == (4.0, ("--grace=4",))


def test_a_key_is_not_shown_with_the_settings() -> None:
    assert "much-secret" not in repr(parsed([TARGET, "--api-key=much-secret"], ["clip"]))


def test_certificates_are_for_the_ports_and_not_for_the_gateway_behind_them(tmp_path: Path) -> None:
    pair = Authority(tmp_path).server()
    words = (f"--tls-cert={pair.cert}", f"--tls-key={pair.key}", "--grace=3")
    found = parsed(words, ["clip"])
    assert (found.settings.tls_cert, found.gateway_flags) == (str(pair.cert), ("--grace=3",))


def test_a_certificate_that_is_none_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(["--tls-cert=missing.pem"], ["clip"])
    assert "tls_cert: missing.pem cannot be read" in capsys.readouterr().err


def test_files_by_which_the_gateway_is_reached_are_judged_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    assert gateway_tls(parsed([TARGET], ["clip"]).settings) is None
    pair = authority.client("port")
    right = (f"--grpc-tls-ca={authority.file}", f"--grpc-tls-cert={pair.cert}", f"--grpc-tls-key={pair.key}")
    assert gateway_tls(parsed([TARGET, *right], ["clip"]).settings) is not None
    (tmp_path / "empty").touch()
    for words, told in (
        ((TARGET, right[1]), "give both files"),
        ((TARGET, "--grpc-tls-ca=missing.pem"), "missing.pem cannot be used"),
        ((TARGET, f"--grpc-tls-ca={tmp_path}/empty"), "empty cannot be used"),
        ((right[0],), "of no use without --grpc-target HOST:PORT"),
        (("--grpc-target=unix:socket", right[0]), "of no use without --grpc-target HOST:PORT"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parsed(words, ["clip"])
        assert told in capsys.readouterr().err


def test_an_open_host_without_tls_is_warned_of() -> None:
    def told(*words: str) -> str | None:
        return exposure(parsed([TARGET, *words], ["clip"]).settings)

    assert "travel in the clear: give --tls-cert and --tls-key" in (told("--host=0.0.0.0") or "")
    assert told() is None
    assert exposure(RunnerSettings(host="0.0.0.0", tls_cert="server.pem")) is None


def test_two_services_cannot_have_one_port(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed([TARGET, "--clip-port=8097"], FAMILIES)
    assert (
        "dino_port: 8097, which clip_port has already: give another by --dino-port" in capsys.readouterr().err
    )
    assert parsed([TARGET, "--clip-port=0", "--dino-port=0"], FAMILIES).ports["dino"] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_on_the_port_of_the_page_is_not_hidden(
    family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed([TARGET, f"--root-path=/{family}"], ("page", *FAMILIES))
    assert f"root_path: /{family} is the path of a family" in capsys.readouterr().err
    for words, served in (
        ([f"--root-path=/{family}", "--no-page"], ("page", *FAMILIES)),
        ([f"--root-path=/{family}"], FAMILIES),
        ([f"--root-path=/featsvc/{family}"], ("page", *FAMILIES)),
    ):
        assert parsed([TARGET, *words], served).settings.root_path.endswith(family)


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
    with pytest.raises(SystemExit, match="2"):
        parsed([f"--host={host}", "--api-key=smfeats"], families)
    assert parsed([f"--host={host}", "--api-key=mine"], families).settings.refused_key == "smfeats"
    # The keys of a gateway elsewhere are its own affair, but for the one that everybody knows.
    assert parsed([f"--host={host}", TARGET], families).settings.refused_key == "smfeats"
    monkeypatch.setenv("FEATSVC_API_KEY", "")
    with pytest.raises(SystemExit, match="2"):
        parsed([f"--host={host}"], families)
    monkeypatch.setenv("FEATSVC_API_KEY", "mine")
    assert parsed([f"--host={host}"], families).settings.has_own_key


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_loopback_needs_none(host: str) -> None:
    assert parsed([f"--host={host}"], FAMILIES).settings.refused_key is None


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
        "--timeout=0",
        "--keep-alive=0",
        "--header-timeout=0",
        "--body-timeout=0",
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
