"""Clients that others' generators make of the three OpenAPI documents: their types hold, their calls are answered."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from rest_shim.app.endpoints import FAMILIES
from tests.servers import KEY, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NPM_PACKAGES = ("openapi-typescript@7.13.0", "typescript@5.9.3")
TYPESCRIPT = """
import type { components, paths } from "./sam2";
import type { components as Clip, paths as ClipPaths } from "./clip";
import type { components as Dino } from "./dino";

type Masks = paths["/auto_mask"]["post"]["responses"]["200"]["content"]["application/json"];
type Embedding = ClipPaths["/encode_text"]["post"]["responses"]["200"]["content"]["application/json"];

// As a person writes them: what is optional may be left out, or be null.
export const automatic: components["schemas"]["AutoMaskBody"] = {
  image: "aGVs", preset: "coarse", points_per_side: null,
};
export const prompted: components["schemas"]["PromptMaskBody"] = {
  image: "aGVs", point_coords: [[1, 2]], point_labels: [1], box: [1, 2, 3, 4],
};
export const clip: Clip["schemas"]["ExtractBody"] = { image: "aGVs", load_size: null };
export const texts: Clip["schemas"]["EncodeTextBody"][] = [{ text: "a" }, { text: ["a", "b"], model_name: null }];
export const dino: Dino["schemas"]["ExtractBody"] = { image_url: "https://example.com/a.png", facet: "key" };
// @ts-expect-error: there is no such preset
export const wrong: components["schemas"]["AutoMaskBody"] = { image: "aGVs", preset: "finest" };
// @ts-expect-error: a text is needed
export const nothing: Clip["schemas"]["EncodeTextBody"] = {};

export const count = (masks: Masks): number => masks.num_masks + masks.masks[0]!.bbox[2]!;
export const width = (embedding: Embedding): number => embedding.shape[0]!;
"""
PYTHON = """
from clip_api.api.clip import encode_text
from clip_api.client import AuthenticatedClient
from clip_api.models import EncodeTextBody, TextEmbedding
from dino_api.models import ExtractBody, Facet
from sam2_api.models import AutoMaskBody, Preset


def width(client: AuthenticatedClient) -> int:
    answer = encode_text.sync(client=client, body=EncodeTextBody(text="a"))
    assert isinstance(answer, TextEmbedding)
    return answer.shape[0]


AUTOMATIC = AutoMaskBody(image="aGVs", preset=Preset.COARSE, points_per_side=None)
FEATURES = ExtractBody(image="aGVs", facet=Facet.KEY)
"""


@pytest.fixture(scope="module")
def documents(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.json, dino.json and sam2.json as the server serves them."""
    folder = tmp_path_factory.mktemp("documents")
    for family in FAMILIES:
        document = httpx.get(demo_server.url(family) + "/openapi.json", trust_env=False)
        (folder / f"{family}.json").write_bytes(document.content)
    return folder


@pytest.fixture(scope="module")
def python_clients(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages that openapi-python-client makes."""
    folder = tmp_path_factory.mktemp("python")
    for family in FAMILIES:
        words = [
            "--path",
            documents / f"{family}.json",
            "--output-path",
            folder / f"{family}_api",
            "--meta",
            "none",
        ]
        ran(
            [
                sys.executable,
                "-m",
                "openapi_python_client",
                "generate",
                "--fail-on-warning",
                *map(str, words),
            ],
            folder,
        )
    return folder


def ran(words: list[str], folder: Path) -> str:
    """What a program says, which must end well; it finds the tools of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, "PATH": path}, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_types_of_typescript_hold_and_leave_optional_fields_optional(documents: Path, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine: the types of openapi-typescript were not checked")
    ran([npm, "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), *NPM_PACKAGES], tmp_path)
    programs = tmp_path / "node_modules" / ".bin"
    for family in FAMILIES:
        made = str(tmp_path / f"{family}.ts")
        ran([str(programs / "openapi-typescript"), str(documents / f"{family}.json"), "-o", made], tmp_path)
    (tmp_path / "caller.ts").write_text(TYPESCRIPT)
    ran([str(programs / "tsc"), "--strict", "--noEmit", "--noUncheckedIndexedAccess", "caller.ts"], tmp_path)


def test_types_of_the_python_client_hold(python_clients: Path) -> None:
    (python_clients / "caller.py").write_text(PYTHON)
    packages = [f"{family}_api" for family in FAMILIES]
    # The generator's own template of the connection is not typed well; it has nothing of the documents.
    templates = "".join(f"[mypy-{each}.client]\nignore_errors = True\n" for each in packages)
    (python_clients / "mypy.ini").write_text(f"[mypy]\n{templates}")
    ran([sys.executable, "-m", "mypy", "--strict", *packages, "caller.py"], python_clients)


@pytest.mark.parametrize(
    "name", [f"{each.name}{path.path}" for each in FAMILIES.values() for path in each.endpoints]
)
def test_the_python_client_asks_what_a_person_would(
    documents: Path, python_clients: Path, demo_server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(str(python_clients))
    family, _, operation = name.partition("/")
    call = importlib.import_module(f"{family}_api.api.{family}.{operation}")
    models = importlib.import_module(f"{family}_api.models")
    document = json.loads((documents / f"{family}.json").read_text())
    title = "".join(map(str.title, re.split("_", operation))) + "Body"
    (example,) = document["components"]["schemas"][title]["examples"]
    body = getattr(models, title).from_dict(example)
    # Nothing is sent that nobody gave: defaults would override a preset.
    assert body.to_dict() == example
    connected = importlib.import_module(f"{family}_api.client").AuthenticatedClient(
        base_url=demo_server.url(family), token=KEY, timeout=httpx.Timeout(120)
    )
    with connected as client:
        answer: Any = call.sync_detailed(client=client, body=body)
    assert answer.status_code == 200, answer.content
    plain = httpx.post(
        f"{demo_server.url(family)}/{operation}",
        json=example,
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=120,
        trust_env=False,
    )
    assert answer.parsed.to_dict() == plain.json()
