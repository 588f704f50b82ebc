"""The programs and commands in the READMEs of the clients run as they are printed, against `make serve`."""

from __future__ import annotations

import math
import re
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.conformance.programs import CLIENTS, LANGUAGES, OVERVIEW, Language, blocks, python, ran

# A first build of a client compiles gRPC.
pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("make_serve")]
PYTHON_PAGE = CLIENTS / "python" / "README.md"
PRINTED = {
    "cpp": ("features 10 x 14 x 128: ", "masks 3 x 128 x 192: ", "featsvc: INVALID_ARGUMENT: ", "texts: "),
    "go": ("features [10 14 128] ", "masks [3 128 192] ", "InvalidArgument [{texts"),
    "java": ("features [10, 14, 128] ", "masks [3, 128, 192] ", "INVALID_ARGUMENT [texts: "),
    "rust": (
        "features [10, 14, 128] ",
        "masks [3, 128, 192] ",
        'INVALID_ARGUMENT [FieldViolation { field: "texts',
    ),
    "typescript": (
        "features [ 10, 14, 128 ] ",
        "masks [ 3, 128, 192 ] ",
        "INVALID_ARGUMENT [ { field: 'texts'",
    ),
}
NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"


@pytest.mark.parametrize("language", LANGUAGES, ids=str)
def test_the_program_of_a_client_runs(language: Language, here: Path) -> None:
    expected = PRINTED[str(language)]
    # Before them is what the tools say that build it.
    lines = language.printed(language.program(), here)[-len(expected) :]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == list(expected), lines


@pytest.mark.parametrize("language", LANGUAGES, ids=str)
def test_the_program_of_the_overview_prints_the_same_in_every_language(
    language: Language, here: Path
) -> None:
    (program,) = blocks(OVERVIEW, "python")
    *shape, value = numbers(python(program, here)[-1])
    assert shape == [10, 14, 128]
    *same_shape, same_value = numbers(language.printed(language.overview(), here)[-1])
    assert same_shape == shape
    # C++ prints six digits.
    assert math.isclose(same_value, value, rel_tol=5e-6)


def numbers(line: str) -> list[float]:
    """The numbers in a line."""
    return list(map(float, re.findall(NUMBER, line)))


@pytest.mark.slow
def test_the_python_programs_run(here: Path) -> None:
    programs = blocks(PYTHON_PAGE, "python")
    assert len(programs) == 5
    for program in programs:
        python(program, here)
    assert {path.name for path in here.glob("*.png")} == {"pca.png", "similarity.png", "masks.png"}
    assert np.load(here / "image.npy").shape == (10, 14, 128)


@pytest.mark.slow
def test_the_commands_of_the_python_page_run(here: Path) -> None:
    (commands,) = blocks(PYTHON_PAGE, "sh")
    (here / "photos").mkdir()
    (here / "shards").mkdir()
    (here / "image.jpg").rename(here / "photos" / "image.jpg")
    with tarfile.open(here / "shards" / "000.tar", "w") as archive:
        archive.add(here / "photos" / "image.jpg", "000001.jpg")
    film(here / "photos" / "image.jpg", here / "clip.mp4")
    ran(here, "bash", "-c", f"set -e\n{commands}")
    assert (here / "features" / "photos" / "image.jpg.npy").exists()
    assert (here / "features" / "preview" / "photos" / "image.jpg.png").exists()
    assert (here / "colours" / "photos" / "image.jpg.npz").exists()
    assert (here / "masks" / "annotations.json").exists()
    assert (here / "embeddings" / "shard-000000.safetensors").exists()
    assert (here / "found" / "annotations.json").exists()
    assert (here / "objects" / "photos" / "image.jpg.npz").exists()


def film(picture: Path, path: Path) -> None:
    """Three frames of a picture."""
    with Image.open(picture) as opened, av.open(str(path), "w") as video:
        stream = video.add_stream("mpeg4", rate=10)
        stream.width, stream.height = opened.size
        for _ in range(3):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(opened), format="rgb24")))
        video.mux(stream.encode(None))
