"""What a person sees of the command line: help, the models, the first lines on a terminal, and mistakes."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from featsvc.server.commands import client_flags
from featsvc.server.commands.cli import main
from featsvc.settings.attributes import attributes, names
from featsvc.settings.calls import Rest
from featsvc.settings.flags import headings
from featsvc.settings.tree import Settings
from tests.servers import FREE_PORTS, FREE_REST_PORTS, ROOT

FLAG = re.compile(r"^  (?:-h, )?(--[a-z0-9-]+)", re.MULTILINE)


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says for --help."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def test_help_of_up_shows_every_setting_once_and_the_common_ones_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = helped(capsys, "up")
    shown = FLAG.findall(text)
    assert sorted(shown) == sorted([*map(flag, names(Settings)), "--help", "--config", "--end-with-stdin"]), (
        "each setting stands in one group"
    )
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert titles == ["options", *headings(attributes(Settings))]
    assert text.index("common:") < text.index("--host") < text.index("--sam2-port") < text.index("Weights:")
    assert "[1GiB]" in text
    assert "1073741824" not in text
    assert "FEATSVC_GRPC_PORT" in text, "it says where else settings may stand"


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (("models", "list"), {"weights_dir", "offline"}),
        (("models", "check"), {"weights_dir", "offline"}),
        (("models", "pull"), {"weights_dir", "offline"}),
        (("serve",), set(names(Settings)) - set(names(Rest))),
        # Those of a caller are called as the server's.
        (("demo",), {"tls_cert", "tls_key"}),
    ],
    ids=("models list", "models check", "models pull", "serve", "demo"),
)
def test_a_command_shows_its_own_flags_only(
    words: tuple[str, ...], settings: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = set(FLAG.findall(helped(capsys, *words)))
    assert shown & set(map(flag, names(Settings))) - {"--api-key"} == set(map(flag, settings)) - {"--api-key"}


def test_the_list_of_models_shows_defaults_and_whose_weights_are_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "dinov2_vits14_pretrain.pth").touch()
    assert main(["models", "list", f"--weights-dir={tmp_path}"]) == 0
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["model"].split() == ["family", "model", "weights", "size", "licence", "what", "it", "is"]
    for key in ("demo-clip", "demo-dino", "demo-sam2"):
        assert " here " in rows[key]
        assert rows[key].endswith("(default of --profile demo)")
    for key in ("ViT-L-14-336-quickgelu/openai", "dinov2_vitl14", "sam2.1_hiera_large"):
        assert rows[key].endswith("(default)")
    assert re.search(r"dinov2_vits14 +here ", rows["dinov2_vits14"])
    assert sum("(default" in row for row in rows.values()) == 6


def test_a_flag_that_a_command_does_not_have_is_told_by_this_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["up", "--grpc-prt=0"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("usage: featsvc up [FLAG ...]\n")
    assert "not known: --grpc-prt=0; did you mean --grpc-port" in told
    with pytest.raises(SystemExit):
        main(["models", "list", "--zzz"])
    told = capsys.readouterr().err
    assert told.startswith("usage: featsvc models list ")
    assert "`featsvc models list --help`" in told


def test_the_settings_in_force_show_sizes_as_people_write_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATSVC_MAX_REQUEST_BYTES", "67108864")
    assert main(["config", "--max-queue-bytes=3MiB"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^max_request_bytes = 64MiB +# environment FEATSVC_MAX_REQUEST_BYTES$", shown, re.M)
    assert re.search(r"^max_queue_bytes = 3MiB ", shown, re.M)
    assert re.search(r"^url_allow = +# default$", shown, re.M)


def test_a_model_that_cannot_be_pulled_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert main(["models", "pull", "dinov2_vits14", "--offline"]) == 1
    assert capsys.readouterr().err.count("dinov2_vits14: ") == 1


def test_every_rest_port_says_that_a_free_one_can_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(helped(capsys, "up").split())
    for port in ("gRPC server", "CLIP", "DINO", "SAM2"):
        assert re.search(rf"ort of (the |){port}; 0 takes a free one", text), port


def test_make_alone_tells_its_targets() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^  serve +CLIP, DINO and SAM2 on the demo models", told, re.M)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony is not None
    targets = {name for name in phony[1].split() if not name.startswith("test-client-")} - {"help"}
    assert set(re.findall(r"^  (\S+) ", told, re.M)) == targets


def test_a_check_of_all_models_ends_with_1_where_some_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "check", "demo-clip", "demo-dino"]) == 0
    assert main(["models", "check"]) == 1
    assert "missing: " in capsys.readouterr().out


def test_without_the_servers_packages_the_command_says_what_to_install() -> None:
    # As in a light install: the module is not there.
    code = "import sys; sys.modules['uvloop'] = None; from featsvc.__main__ import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", code, "up"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "uvloop is not installed" in ended.stderr
    assert "make setup" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_rest_port_is_named_with_what_would_mend_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [sys.executable, "-m", "featsvc", "up", *FREE_PORTS, *FREE_REST_PORTS, "--log-level=error"]
        ended = subprocess.run(
            [*words, f"--dino-port={port}", "--devices=cpu", "--preload="],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 2
    assert f"the REST port of DINO, 127.0.0.1:{port}" in ended.stderr
    assert "--dino-port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_services_cannot_have_one_port(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--grpc-port=8096"]) == 2
    told = "clip_port: 8096, which grpc_port has already: give another by --clip-port"
    assert told in capsys.readouterr().err


def test_the_key_of_a_question_is_that_of_flag_or_environment_or_none_beside_a_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def key(given: str | None = None, cert: str | None = None) -> str | None:
        return client_flags.api_key({"api_key": given, "tls_cert": cert})

    monkeypatch.delenv("FEATSVC_API_KEY", raising=False)
    assert (key(), key("mine"), key(cert="a.pem"), key("mine", "a.pem")) == ("smfeats", "mine", None, "mine")
    monkeypatch.setenv("FEATSVC_API_KEY", "ours,others")
    assert (key(), key("mine"), key(cert="a.pem")) == ("ours", "mine", "ours")


def test_a_demo_without_a_server_says_what_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["demo", str(tmp_path / "out.png"), f"--target=127.0.0.1:{port}"]) == 2
    told = capsys.readouterr().err
    assert "make serve" in told
    assert "--target" in told


def test_on_a_terminal_the_server_says_what_a_person_needs_and_only_that() -> None:
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "featsvc", "up", "--profile=demo", "--devices=cpu", "--offline"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
    process = subprocess.Popen(
        [*words, *FREE_PORTS, *FREE_REST_PORTS, "--metrics-port=0"],
        cwd=ROOT,
        env=environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    # A server that never gets ready must not hold the test up.
    killer = threading.Timer(120, process.kill)
    killer.start()
    told = b""
    try:
        while b"Ready" not in told and (more := _read(leader)):
            told += more
        process.send_signal(signal.SIGINT)
        while more := _read(leader):
            told += more
        assert process.wait(timeout=60) == 0
    finally:
        killer.cancel()
        process.kill()
        process.wait()
        os.close(leader)
    text = told.decode().replace("\r", "")
    for service in ("CLIP", "DINO", "SAM2"):
        assert re.search(
            rf"^  {service} +http://localhost:\d+ +docs at http://localhost:\d+/docs$", text, re.M
        )
    for row in (
        r"gRPC +localhost:\d+",
        r"metrics +http://localhost:\d+/metrics",
        r"key +smfeats .*",
        r"models +demo-clip \(CLIP\): weights are here",
        r"try +\S*featsvc demo --target localhost:\d+ .*",
        r"stop +Ctrl-C",
    ):
        assert re.search(rf"^  {row}$", text, re.M), text
    assert text.rstrip().endswith("Ready: 1 worker.")
    assert "{" not in text, "no log lines for programs, and none of gRPC"
    assert len(text.splitlines()) < 17


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux: the other end is closed
        return b""
