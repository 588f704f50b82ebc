"""The commands that README.md and docs/ print run as printed, at the top of a clone, against `make serve`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conformance.programs import blocks, python
from tests.conformance.runners import PATH, ROOT, foreign

README, REST_API, OBJECTS, PYRAMIDS = (
    ROOT / name for name in ("README.md", "docs/rest-api.md", "docs/objects.md", "docs/pyramids.md")
)
SCREEN = 50  # lines
WIDTH = 400  # letters
# What is printed and not run here: why, by how a command begins.
NOT_RUN = {
    "make": "sets up, serves and tests: what runs this",
    "featsvc models pull": "a download",
    "featsvc verify": "test_verify.py asks it",
}
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl: not on this machine")
REASON = "this machine gives tests no network of their own"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a reader has around: a place to write to, and the files of the repository."""
    for name in (".venv", "docs", "protos", "clients"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture(scope="module")
def own_network() -> list[str]:
    """The beginning of a command that makes it run where all ports are free."""
    words = ["unshare", "--net", "bash", "-c", 'ip link set lo up && exec bash -c "$0"']
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip(REASON)
    return words


def shell(script: str, clone: Path, words: tuple[str, ...] = ("bash", "-c")) -> str:
    """What a reader sees of it; it must end well, in a screenful."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
    environment["PATH"] = PATH
    done = subprocess.run(
        [*words, f"set -eo pipefail\n{script}"],
        cwd=clone,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def is_screenful(text: str) -> bool:
    """Whether a person can look at it."""
    lines = text.splitlines()
    return 0 < len(lines) <= SCREEN and max(map(len, lines)) <= WIDTH


@needs_curl
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("make_serve")
def test_the_commands_of_the_readme_run_as_printed(clone: Path) -> None:
    commands = blocks(README, "bash")
    asked = [block for block in commands if "grpcurl" not in block]
    assert len(asked) == len(commands) - 1 == 2
    printed = [shell(f"source .venv/bin/activate\n{block}", clone) for block in asked]
    assert all(map(is_screenful, printed))
    assert (clone / "featsvc-demo.png").stat().st_size > 10_000
    health, text, masks = printed[1].splitlines()
    assert '"status":"healthy"' in health
    assert text.startswith('{"text_embedding":"')
    assert '"counts":"' in masks


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("make_serve")
def test_grpcurl_in_the_readme_runs_as_printed(clone: Path) -> None:
    foreign("grpcurl")
    (block,) = (block for block in blocks(README, "bash") if "grpcurl" in block)
    printed = shell(block, clone)
    assert is_screenful(printed)
    assert "rpc EncodeText" in printed
    assert "text_embedding" in printed


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("make_serve")
def test_the_program_of_the_readme_runs_as_printed(clone: Path) -> None:
    (program,) = blocks(README, "python")
    assert python(program, clone)[0] == "(32, 32, 128) 14"


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("make_serve")
def test_the_program_of_the_rest_page_reads_the_documented_form(clone: Path) -> None:
    programs = blocks(REST_API, "python")
    masks, frames = (python(each, clone) for each in programs)
    assert re.fullmatch(r"\(3, 256, 256\) \d{3,4} pixels in the best mask", *masks)
    assert frames == ["True"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("make_serve")
def test_the_programs_and_the_picture_of_the_page_on_objects_are_as_printed(clone: Path) -> None:
    programs = blocks(OBJECTS, "python")
    printed = python("\n".join(programs), clone)
    assert len(printed) >= len(programs)
    commands = re.findall(
        r"^    (featsvc-client .*--preview \\\n(?:        .*\n)+)", OBJECTS.read_text(), re.M
    )
    (picture,) = (each for each in commands if "docs/scene.jpg" in each)
    shell(f"source .venv/bin/activate\n{picture}", clone)
    with (
        Image.open(clone / "build" / "objects" / "preview" / "docs" / "scene.jpg.png") as drawn,
        Image.open(ROOT / "docs" / "objects.png") as shown,
    ):
        assert drawn.size == shown.size
        assert np.abs(np.asarray(drawn, float) - np.asarray(shown, float)).mean() < 2


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("make_serve")
def test_the_program_of_the_page_on_pyramids_runs_as_printed(clone: Path) -> None:
    (program,) = blocks(PYRAMIDS, "python")
    *levels, points = python(program, clone)
    assert len(levels) == 7
    assert points.startswith("(2, 128) [")


# What a reader sees at the beginning of the answer.
ANSWERED = {
    "8096/extract": "features",
    "8096/encode_text": "text_embedding",
    "8096/similarity": "similarity_map",
    "8096/embed_pyramid": "features",
    "8097/extract": "features",
    "8097/estimate/extract": "cost_s",
    "8098/auto_mask": "masks",
    "8098/prompt_mask": "masks",
    "8098/embed_image": "image_embed",
    "8098/describe_objects": "objects",
    "8098/find_objects": "objects",
}


# Seven sizes from 0.05 are thousands of tiles, which take a processor many seconds: the page on pyramids has them.
FEWER_TILES = {'"tile_ratio_min": 0.05': '"tile_ratio_min": 0.25', "[64, 64, 0.1]": "[64, 64, 0.3]"}


@needs_curl
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("make_serve")
def test_the_commands_of_the_rest_page_run_as_printed_but_for_fewer_tiles(clone: Path) -> None:
    commands = blocks(REST_API, "bash")
    # One shell, as a reader has: the function and the picture stay.
    script = "\n".join(f"echo ---\n{block}" for block in commands)
    for words, fewer in FEWER_TILES.items():
        assert script.count(words) == 1
        script = script.replace(words, fewer)
    printed = shell(f"source .venv/bin/activate\n{script}", clone).split("---\n")[1:]
    asked = list[str]()
    for command, text in zip(commands, printed, strict=True):
        if path := re.match(r"ask (\S+)", command):
            asked.append(path[1])
            assert is_screenful(text), path[1]
            assert text.startswith("{"), text
            assert f'"{ANSWERED[path[1]]}"' in text, (path[1], text)
            assert '"detail"' not in text, (path[1], text)
    headings = re.findall(r"^### POST `(\S+)`", REST_API.read_text(), re.MULTILINE)
    assert set(headings) <= {f"/{each.partition('/')[2]}" for each in asked}
    assert set(asked) == set(ANSWERED)
    others = [text for text, command in zip(printed, commands, strict=True) if not command.startswith("ask ")]
    function, array, health = others
    assert function == ""
    assert array.startswith("(")
    assert '"status":"healthy"' in health


@needs_curl
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_other_command_that_is_printed_runs_too(clone: Path, own_network: list[str]) -> None:
    """Those that start servers of their own, one after the other, where the documented ports are free."""
    shell("source .venv/bin/activate\nfeatsvc keys new reader --api-key-file keys.toml", clone)
    (clone / "weights").mkdir()
    lines = [
        line.split("#")[0].strip()
        for page in (README, REST_API)
        for line in re.findall(r"^    ((?:featsvc|python|make) .*)$", page.read_text(), re.MULTILINE)
    ]
    servers = [line for line in lines if line.startswith(("featsvc up", "python -m rest_shim"))]
    others = [line for line in lines if line not in servers and not line.startswith(tuple(NOT_RUN))]
    assert len(servers) == 6
    assert sorted(others) == ["featsvc models check dinov2_vitl14", "featsvc models list"]
    for line in others:
        text = shell(f"source .venv/bin/activate\n{line} || [ $? = 1 ]", clone)
        assert "dinov2_vitl14" in text
    for line in servers:
        ports = re.findall(r"--port (\d+)", line) or ["8096", "8097", "8098"]
        asking = "\n".join(
            f"curl -sS --retry 100 --retry-delay 1 --retry-all-errors localhost:{port}/health"
            for port in ports
        )
        script = (
            f"source .venv/bin/activate\n{line} 2>log & pid=$!\n{asking}\nkill $pid\nwait $pid || cat log"
        )
        printed = shell(script, clone, tuple(own_network))
        assert printed.count('"status":"healthy"') == len(ports), printed
