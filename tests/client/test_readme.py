"""The examples of the client's README, as printed, but for the address and the key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from featsvc.demo.scenes import HELD_OUT_SEED, SceneOptions, draw
from tests.servers import KEY, Server

README = Path(__file__).parents[2] / "clients/python/README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def here(block: str, server: Server) -> str:
    """The example for the server of the tests; the functions of the document take address and key from their module."""
    for family, port in (("clip", 8096), ("sam2", 8098)):
        block = block.replace(f"http://localhost:{port}", server.url(family))
    block = block.replace("localhost:50051", server.target).replace("smfeats", KEY)
    block = block.replace("AsyncFeatsvcClient()", f"AsyncFeatsvcClient({server.target!r}, api_key={KEY!r})")
    return (
        "from featsvc_client import clip_client, rest, sam2_client\n"
        f"clip_client.BASE_URL, sam2_client.BASE_URL = {server.url('clip')!r}, {server.url('sam2')!r}\n"
        f"rest.DEFAULT_KEY = {KEY!r}\n{block}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs_as_printed(demo_server: Server, tmp_path: Path, number: int) -> None:
    Image.fromarray(draw(HELD_OUT_SEED, SceneOptions()).image).save(tmp_path / "image.jpg")
    program = [sys.executable, "-W", "error", "-c", here(BLOCKS[number], demo_server)]
    ran = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=170)
    assert ran.returncode == 0, ran.stderr
