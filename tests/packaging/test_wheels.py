"""The wheels hold all that runs: built, installed where nothing of this tree is found, and asked."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from deploy.lock import SERVER
from tests.packaging.environments import Environment, environment, install, plain
from tests.servers import FREE_PORTS, FREE_REST_PORTS, KEY, ROOT, Server, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PACKAGES = {"featsvc": ROOT, "rest_shim": ROOT, "featsvc_client": ROOT / "clients" / "python"}
SCENE = {"image": base64.b64encode((ROOT / "docs" / "scene.jpg").read_bytes()).decode()}
POINT = {"point_coords": [[72, 52]], "point_labels": [1], "mask_encoding": "coco_rle"}
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("encode_text", {"text": "a red star"}),
    "dino": ("extract", SCENE),
    "sam2": ("prompt_mask", SCENE | POINT),
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of featsvc and of featsvc-client, as `make wheels` builds them."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run(["make", "wheels", f"DIST={folder}"], cwd=ROOT, check=True, env=plain())
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def image(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What the image has: its lock and the wheel of featsvc."""
    made = environment(tmp_path_factory.mktemp("image") / "venv", *SERVER)
    install(made, wheels[0])
    return made


@pytest.fixture(scope="module")
def client(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The client with the libraries of its command."""
    made = environment(tmp_path_factory.mktemp("client") / "venv", "featsvc-client[bulk]")
    install(made, *wheels)
    return made


@pytest.fixture(scope="module")
def server(image: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The installed `featsvc up`."""
    words = [
        image.command("featsvc"),
        "up",
        "--profile=demo",
        "--devices=cpu",
        "--offline",
        f"--api-key={KEY}",
    ]
    log = tmp_path_factory.mktemp("log") / "log"
    with started([*words, *FREE_PORTS, *FREE_REST_PORTS], image.elsewhere, plain(), log) as running:
        yield running


def test_the_wheels_hold_every_file_of_the_packages_and_no_other(wheels: list[Path]) -> None:
    held = {name for wheel in wheels for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {
        str(file.relative_to(top))
        for package, top in PACKAGES.items()
        for file in (top / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert held == sources


def test_only_what_was_installed_is_imported(image: Environment) -> None:
    found = image.ask("import featsvc, rest_shim, torch; print(featsvc.__file__, rest_shim.__file__)")
    assert all(Path(file).is_relative_to(image.packages) for file in found.split())
    assert image.ask("from importlib.util import find_spec; print(find_spec('pytest'))").strip() == "None"


@pytest.mark.parametrize("family", QUESTIONS)
def test_every_port_answers_with_its_page_its_document_and_what_it_computes(
    server: Server, family: str
) -> None:
    path, body = QUESTIONS[family]
    with httpx.Client(
        base_url=server.url(family), headers={"Authorization": f"Bearer {KEY}"}, timeout=150
    ) as http:
        page = http.get("/docs").raise_for_status().text
        (script,) = re.findall(r'src="([^"]+)"', page)
        assert "SwaggerUIBundle" in http.get(f"/{script}").raise_for_status().text
        assert f"/{path}" in http.get("/openapi.json").raise_for_status().json()["paths"]
        assert http.get("/health").raise_for_status().json()["status"] == "healthy"
        http.post(f"/{path}", json=body).raise_for_status()


def test_the_demo_draws_its_picture_outside_the_tree(server: Server, image: Environment) -> None:
    ended = image.run(image.command("featsvc"), "demo", f"--target={server.target}", f"--api-key={KEY}")
    assert ended.returncode == 0, ended.stderr
    assert (image.elsewhere / "featsvc-demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_models_are_listed_with_the_demo_weights_here(image: Environment) -> None:
    ended = image.run(image.command("featsvc"), "models", "list")
    assert ended.returncode == 0, ended.stderr
    lines = {line.split()[1]: line for line in ended.stdout.splitlines() if line}
    assert all(" not here " not in lines[name] for name in ("demo-clip", "demo-dino", "demo-sam2"))


def test_the_installed_client_asks_the_server(server: Server, client: Environment) -> None:
    help_ = client.run(client.command("featsvc-client"), "--help")
    assert (help_.returncode, help_.stderr) == (0, "")
    assert "extract" in help_.stdout
    code = (
        "from featsvc_client import FeatsvcClient\n"
        f"with FeatsvcClient({server.target!r}, api_key={KEY!r}) as client: print(client.encode_text('a').array.shape)"
    )
    assert client.ask(code).startswith("(1, ")
