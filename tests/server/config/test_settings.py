"""Settings: their sources and their order, devices, and what the command line says of mistakes."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from featsvc.errors import InvalidArgument
from featsvc.logs import JsonLines
from featsvc.server.commands.cli import main
from featsvc.server.config import devices as places
from featsvc.server.config.settings import configuration as configured
from featsvc.settings.attributes import Attribute, attributes, names
from featsvc.settings.sources import Configuration, has_typed_key, unknown_variables
from featsvc.settings.tree import Settings
from tests.servers import ROOT


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "FEATSVC_CONFIG",
        "CUDA_VISIBLE_DEVICES",
        *(f"FEATSVC_{each.upper()}" for each in names(Settings)),
    ):
        monkeypatch.delenv(name, raising=False)


def configuration(flags: dict[str, str]) -> Configuration[Settings]:
    return configured(flags, Settings)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text('grpc-port = 1\nclip_port = 1\ndino_port = 1\nurl = false\npreload = ["demo-clip"]\n')
    monkeypatch.setenv("FEATSVC_CONFIG", str(file))
    monkeypatch.setenv("FEATSVC_CLIP_PORT", "2")
    monkeypatch.setenv("FEATSVC_DINO_PORT", "2")
    found = configuration({"dino_port": "3"})
    settings = found.settings
    assert (settings.grpc_port, settings.clip_port, settings.dino_port, settings.sam2_port) == (1, 2, 3, 8098)
    assert (settings.url, settings.preload) == (False, ("demo-clip",))
    assert [found.origins[name] for name in ("grpc_port", "clip_port", "dino_port", "sam2_port")] == [
        f"file {file}",
        "environment FEATSVC_CLIP_PORT",
        "flag --dino-port",
        "default",
    ]


def test_sizes_and_lists_are_read_as_people_write_them() -> None:
    settings = configuration(
        {"model_memory": "2GiB", "max_queue_bytes": "1m", "url_allow": "a.example, 10.0.0.0/8"}
    ).settings
    assert (settings.model_memory, settings.max_queue_bytes) == (2 * 1024**3, 1024**2)
    assert configuration({"model_memory": "Auto"}).settings.model_memory is None
    assert settings.url_allow == ("a.example", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"grpc_port": "many"}, "whole number"),
        ({"grpc_port": "70000"}, "65535"),
        ({"max_queue": "0"}, "at least 1"),
        ({"model_memory": "2 apples"}, "512MiB"),
        ({"profile": "dmeo"}, "'default' or 'demo'"),
        ({"precision": "int4"}, "'auto', 'fp32', 'tf32', 'bf16' or 'fp16'"),
        ({"max_open_per_stream": "0"}, "at least 1"),
        ({"image_cache": "some"}, "512MiB"),
        ({"request_timeout": "-1"}, "above 0"),
        ({"keep_alive": "0"}, "above 0"),
        ({"grace": "-1"}, "at least 0"),
        ({"request_timeout": "nan"}, "finite number"),
        ({"give_back_after": "1e10"}, "at most 1000000000"),
        ({"offline": "maybe"}, "true or false"),
        ({"config": "no-such-file.toml"}, "cannot be read"),
    ],
)
def test_a_mistake_names_the_setting_and_what_it_may_be(flags: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as caught:
        configuration(flags)
    assert next(iter(flags)).replace("_", "-") in caught.value.message.replace("_", "-")


def test_an_unknown_setting_in_a_file_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text("grcp_port = 1")
    with pytest.raises(InvalidArgument, match="grcp_port"):
        configuration({"config": str(file)})


def test_a_config_file_that_is_no_text_is_a_mistake_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_bytes(b"\xff\xfeg")
    with pytest.raises(InvalidArgument, match="UTF-8"):
        configuration({"config": str(file)})
    file.write_bytes(b"\xef\xbb\xbfgrpc_port = 7\n")
    assert configuration({"config": str(file)}).settings.grpc_port == 7


@pytest.mark.parametrize("setting", attributes(Settings), ids=lambda each: each.name)
def test_every_setting_has_a_description_and_a_default_in_its_range(setting: Attribute) -> None:
    assert setting.description
    assert setting.parsed(setting.text(setting.default)) == setting.default


def test_a_key_that_others_see_is_one_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_typed_key(configuration({"api_key": "mine"}))
    assert not has_typed_key(configuration({"api_key": "smfeats"}))
    assert has_typed_key(configuration({"status_key": "mine"}))
    monkeypatch.setenv("FEATSVC_API_KEY", "mine")
    assert not has_typed_key(configuration({}))


def test_a_variable_that_no_setting_has_is_named_with_the_nearest_that_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for known in ("FEATSVC_HOST", "FEATSVC_GRPC_TARGET", "FEATSVC_CONFIG", "FEATSVC_TLS_KEY"):
        monkeypatch.setenv(known, "")
    assert unknown_variables() == []
    # Kubernetes tells all that run in a namespace of its services.
    for name, value in (("PORT", "tcp://10.0.0.1:1"), ("SERVICE_HOST", "x"), ("A_PORT_80_TCP_ADDR", "x")):
        monkeypatch.setenv(f"FEATSVC_{name}", value)
    assert unknown_variables() == []
    monkeypatch.setenv("FEATSVC_GRPC_PROT", "a-secret")
    monkeypatch.setenv("FEATSVC_XYZZY", "1")
    assert unknown_variables() == [
        "FEATSVC_GRPC_PROT is no setting, and is passed over: did you mean FEATSVC_GRPC_PORT?",
        "FEATSVC_XYZZY is no setting, and is passed over",
    ]
    monkeypatch.delenv("FEATSVC_CONFIG")
    assert main(["config"]) == 0
    assert "FEATSVC_GRPC_PROT" in capsys.readouterr().err


def test_the_demo_profile_preloads_the_demo_models_unless_told_otherwise() -> None:
    assert configuration({"profile": "demo"}).settings.preload == ("demo-clip", "demo-dino", "demo-sam2")
    assert configuration({"profile": "demo", "preload": ""}).settings.preload == ()


def test_devices_are_slots() -> None:
    assert places.devices("cpu:2") == ("cpu", "cpu")
    assert places.devices("cuda:0, cuda:1") == ("cuda:0", "cuda:1")
    assert places.devices("cuda") == ("cuda:0",)
    assert places.devices("cuda:10,MIG-3a1f,GPU-9e1c-04") == ("cuda:10", "MIG-3a1f", "GPU-9e1c-04")
    for wrong in ("gpu", "cpu:0", "cuda:x", "cuda:01", "GPU-", "GPU-a;b", ""):
        with pytest.raises(InvalidArgument, match="devices"):
            places.devices(wrong)


def printed(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out):
        code = main(words)
    return code, out.getvalue()


def test_config_prints_every_value_with_its_origin_and_hides_keys() -> None:
    code, text = printed("config", "--api-key=very-secret", "--status-key=very-secret-too", "--grpc-port=7")
    assert code == 0
    assert "very-secret" not in text
    lines = {line.split(" = ")[0]: line for line in text.splitlines()}
    assert set(lines) == set(names(Settings))
    assert lines["grpc_port"].endswith("# flag --grpc-port")
    assert lines["host"].endswith("# default")


def test_config_shows_the_documented_key_only_where_it_is_good() -> None:
    assert re.search(r"^api_key = smfeats +# default$", printed("config")[1], re.M)
    assert re.search(r"^api_key = +# default$", printed("config", "--api-key-file=keys.toml")[1], re.M)


def test_models_are_listed_and_checked() -> None:
    code, text = printed("models", "list", "--family=sam2")
    assert code == 0
    assert "sam2.1_hiera_large" in text
    assert "dinov2" not in text
    code, text = printed("models", "check", "demo-clip")
    assert code == 0
    assert text.startswith("demo-clip: ")
    assert text.strip().endswith("demo-clip.safetensors")
    code, text = printed("models", "check", "sam2.1_hiera_tiny", "--offline")
    assert code == 1
    assert "sam2.1_hiera_tiny.pt" in text


def test_a_weights_folder_is_looked_into_under_publishers_names(tmp_path: Path) -> None:
    (tmp_path / "dinov2_vits14_pretrain.pth").touch()
    code, text = printed("models", "check", "dinov2_vits14", f"--weights-dir={tmp_path}")
    assert (code, text.strip()) == (0, f"dinov2_vits14: {tmp_path / 'dinov2_vits14_pretrain.pth'}")


def test_a_model_offline_cannot_be_pulled_and_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "dinov2_vits14", "--offline"]) == 1
    assert "dinov2_vits14_pretrain.pth" in capsys.readouterr().err


def test_a_taken_port_ends_with_a_clear_line_and_no_trace() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = [sys.executable, "-m", "featsvc", "serve", f"--grpc-port={taken.getsockname()[1]}"]
        words.append("--api-key=very-secret")
        environment = {**os.environ, "FEATSVC_MAX_QEUE": "1"}
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment)
    assert ended.returncode == 2
    assert "--grpc-port" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "lists its processes: FEATSVC_API_KEY" in ended.stderr
    assert "very-secret" not in ended.stderr
    assert ended.stderr.count("FEATSVC_MAX_QEUE is no setting, and is passed over: did you mean") == 1


def test_an_open_host_with_the_default_key_refuses_to_start() -> None:
    words = [sys.executable, "-m", "featsvc", "serve", "--host=0.0.0.0", "--grpc-port=0"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "--api-key" in ended.stderr


def test_a_log_line_is_json_with_its_extra_fields() -> None:
    record = logging.LogRecord("featsvc.x", logging.INFO, __file__, 1, "said %s", ("so",), None)
    record.method = "/a/b"
    line = json.loads(JsonLines().format(record))
    assert (line["message"], line["method"], line["level"]) == ("said so", "/a/b", "info")


@pytest.mark.parametrize(
    ("host", "in_url", "reachable"),
    [
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("::", "[::]", "[::1]"),
        ("[::]", "[::]", "[::1]"),
        ("[fe80::1]", "[fe80::1]", "[fe80::1]"),
        ("localhost", "localhost", "localhost"),
    ],
)
def test_an_address_is_written_as_urls_have_it(host: str, in_url: str, reachable: str) -> None:
    settings = configuration({"host": host}).settings
    assert (settings.host_in_url, settings.reachable_host) == (in_url, reachable)
