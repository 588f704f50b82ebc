"""servers.yaml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import featsvc_client
import pytest
import yaml
from featsvc_client import clip_client, dino_client, load_servers, sam2_client

SHIPPED = Path(featsvc_client.__file__).with_name("servers.yaml")


def test_the_shipped_file_holds_the_defaults_of_the_functions() -> None:
    servers = load_servers(SHIPPED)
    assert {name: server["base_url"] for name, server in servers.items()} == {
        "clip": clip_client.BASE_URL,
        "dino": dino_client.BASE_URL,
        "sam2": sam2_client.BASE_URL,
    }
    assert {server["api_key"] for server in servers.values()} == {"smfeats"}
    assert servers == yaml.safe_load(SHIPPED.read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "clip, dino and sam2 are expected"),
        ("- clip", "clip, dino and sam2 are expected"),
        ("clap: {base_url: a}", "no service 'clap'; known are clip, dino, sam2"),
        ("clip: {url: a}", "clip takes base_url, api_key, timeout"),
        ("clip: a", "clip takes base_url"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_reason(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "servers.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_servers(path)


def test_without_pyyaml_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['yaml'] = None\n"
        "import featsvc_client\n"
        "try: featsvc_client.load_servers('servers.yaml')\n"
        "except ImportError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "pip install PyYAML" in shown
