"""Two small pictures, the demo server, and the command that asks it about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from featsvc_client import FeatsvcClient
from featsvc_client.bulk import cli
from PIL import Image

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, SceneOptions, draw
from tests.client.bulk.comparison import NAMES
from tests.servers import KEY, Server


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small pictures."""
    folder = tmp_path_factory.mktemp("bulk") / "photos"
    for number, name in enumerate(NAMES):
        scene = draw(HELD_OUT_SEED + number, SceneOptions(min_objects=2, max_objects=2))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).resize((96, 64 + 16 * number)).save(path)
    return folder


@pytest.fixture(scope="module")
def client(demo_server: Server) -> Iterator[FeatsvcClient]:
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as connected:
        yield connected


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def bulk(demo_server: Server, pictures: Path, out: Path) -> Any:
    def run(*words: str) -> int:
        server = ("--target", demo_server.target, "--api-key", KEY, "--quiet")
        return cli.main([*words, str(pictures), "--out", str(out), *server])

    return run
