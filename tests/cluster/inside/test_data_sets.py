"""Data sets over Ray: the same files as the client of a server writes, and a run that goes on where another ended."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from featsvc_client.bulk import cli as client
from PIL import Image, ImageDraw

from tests.client.bulk.service import noted, results
from tests.servers import KEY, ROOT, running

THREADS = "--threads=1"


def drawn(number: int) -> bytes:
    """A small picture; some share their size, and so a pass of the network."""
    chance = np.random.default_rng(number)
    image = Image.new("RGB", (64 + 16 * (number % 3), 80), tuple(chance.integers(0, 255, 3).tolist()))
    for _ in range(3):
        x, y, size = chance.integers(0, 60, 3).tolist()
        ImageDraw.Draw(image).ellipse((x, y, x + size, y + size), tuple(chance.integers(0, 255, 3).tolist()))
    file = io.BytesIO()
    image.save(file, "PNG" if number % 2 else "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 of them: files, members of an archive, rows of a Parquet file; one is damaged."""
    folder = tmp_path_factory.mktemp("data") / "set"
    folder.mkdir()
    for number in range(80):
        (folder / f"{number:03d}.png").write_bytes(drawn(number))
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for number in range(80, 140):
            member = tarfile.TarInfo(f"{number:03d}.jpg")
            content = drawn(number)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    rows = [*map(drawn, range(140, 199)), b"no picture"]
    pq.write_table(
        pa.table({"image": pa.array(rows, pa.binary())}), folder / "rows.parquet", row_group_size=25
    )
    return folder


COMMANDS = {
    "features": (
        *("extract", "dino", "--load-size", "112", "--ret-pca", "--pca-sample", "8"),
        *("--format", "parquet", "--per-file", "64"),
    ),
    "masks": ("masks", "auto", "--points-per-side", "4"),
}


@pytest.fixture(scope="module")
def by_a_server(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the client makes of them."""
    folder = tmp_path_factory.mktemp("by_a_server")
    with running(folder / "log", "serve", "--profile=demo", "--offline", THREADS) as server:
        for name, words in COMMANDS.items():
            asked = [*words, str(pictures), "--out", str(folder / name), "--target", server.target]
            assert client.main([*asked, "--api-key", KEY, "--quiet"]) == 1, "one picture is damaged"
    return folder


def batch(*words: object) -> tuple[int, str]:
    program = [sys.executable, "-m", "featsvc", "batch", *map(str, words), "--profile=demo", "--offline"]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_it_writes_the_files_that_the_client_of_a_server_writes(
    name: str, pictures: Path, by_a_server: Path, tmp_path: Path
) -> None:
    status, said = batch(*COMMANDS[name], pictures, "--out", tmp_path / "out")
    assert status == 1, said
    assert "200 of 200 pictures, 1 failed" in said
    expected, found = results(by_a_server / name), results(tmp_path / "out")
    assert found.keys() == expected.keys()
    assert found == expected
    columns = "key, state, output, nbytes, digest, model, parameters"
    assert noted(tmp_path / "out", columns) == noted(by_a_server / name, columns)


def test_it_goes_on_where_a_client_has_ended(pictures: Path, by_a_server: Path) -> None:
    out = by_a_server / "features"
    first = results(out)
    words = COMMANDS["features"]
    status, said = batch(*words, pictures, "--out", out)
    assert (status, "200 of 200 pictures, 1 failed, 0.0/s" in said) == (1, True), said
    assert results(out) == first
    (pictures / "000.png").write_bytes(drawn(500))
    (pictures / "001.png").write_bytes(drawn(1))
    status, said = batch(*words, pictures, "--out", out)
    assert status == 1, said
    assert (out / "shard-000000.parquet").read_bytes() != first["shard-000000.parquet"]
    assert results(out).keys() == first.keys()
    changed = pq.read_table(out / "shard-000000.parquet").to_pylist()
    before = pq.read_table(io.BytesIO(first["shard-000000.parquet"])).to_pylist()
    assert [one["key"] for one, other in zip(changed, before, strict=True) if one != other] == ["set/000.png"]
