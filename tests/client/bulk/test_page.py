"""The commands of the client's page run as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import av
import featsvc_client
import numpy as np
import pytest
from PIL import Image

from featsvc.demo.scenes import Scene, SceneOptions, draw
from tests.servers import KEY, Server

README = Path(featsvc_client.__file__).parents[1] / "README.md"
PART = "## Many pictures"


@pytest.fixture
def here(tmp_path: Path, demo_server: Server) -> Path:
    """A folder with what the page's commands name, and the command, which asks the server of the tests."""
    scene: Scene = draw(1, SceneOptions(min_objects=2, max_objects=2))
    (tmp_path / "photos").mkdir()
    (tmp_path / "shards").mkdir()
    small = Image.fromarray(scene.image).resize((96, 64))
    small.save(tmp_path / "photos" / "image.jpg")
    with tarfile.open(tmp_path / "shards" / "000.tar", "w") as archive:
        archive.add(tmp_path / "photos" / "image.jpg", "000001.jpg")
    with av.open(str(tmp_path / "clip.mp4"), "w") as video:
        stream = video.add_stream("mpeg4", rate=10)
        stream.width, stream.height = small.size
        for _ in range(3):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(small), format="rgb24")))
        video.mux(stream.encode(None))
    command = tmp_path / "bin" / "featsvc-client"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m featsvc_client.bulk "$@" '
        f"--target {demo_server.target} --api-key {KEY} --quiet\n"
    )
    command.chmod(0o755)
    return tmp_path


def test_the_commands_of_the_page_run_as_printed(here: Path) -> None:
    part = README.read_text().partition(PART)[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
    lines = [line for line in block.splitlines() if line.startswith(("featsvc-client", "python"))]
    assert len(lines) >= 6
    path = os.pathsep.join([str(here / "bin"), str(Path(sys.executable).parent), os.defpath])
    for line in lines:
        ran = subprocess.run(
            line, shell=True, cwd=here, env={"PATH": path}, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, (line, ran.stderr)
    assert (here / "features" / "photos" / "image.jpg.npy").exists()
    assert (here / "features" / "preview" / "photos" / "image.jpg.png").exists()
    assert (here / "masks" / "annotations.json").exists()
    assert (here / "embeddings" / "shard-000000.safetensors").exists()


def test_the_command_is_installed_with_the_package() -> None:
    command = Path(sys.executable).with_name("featsvc-client")
    ran = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    for word in ("extract", "masks", "similarity", "embed"):
        assert word in ran.stdout


def test_without_its_libraries_the_command_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['tqdm'] = None\n"
        "from featsvc_client.bulk.__main__ import main\n"
        "sys.exit(main())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.strip().endswith("pip install 'featsvc-client[bulk]'")


def test_the_client_itself_needs_none_of_these_libraries() -> None:
    program = "import sys, featsvc_client; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"tqdm", "zarr", "av", "safetensors", "featsvc_client.bulk"} & set(ran.stdout.split())
