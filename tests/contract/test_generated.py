"""The generated code cannot drift from the proto files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def generated(protos: Path, out: Path) -> dict[str, bytes]:
    """What the generator makes of a folder of protos: file name to content."""
    subprocess.run([sys.executable, protos / "generate.py", "--out", out], check=True, cwd=ROOT)
    return {path.name: path.read_bytes() for path in (out / "featsvc" / "v1").iterdir() if path.is_file()}


def checked_in() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (ROOT / "featsvc" / "v1").iterdir() if path.is_file()}


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    assert generated(ROOT / "protos", tmp_path) == checked_in()


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        (
            "sam2.proto",
            'default: "32" min: 1 max: 256',
            'default: "33" min: 1 max: 256',
            {"schema.py", "params.py", "sam2_pb2.py"},
        ),
        ("dino.proto", "min: -128 max: 127", "min: -128 max: 126", {"schema.py", "dino_pb2.py"}),
        ("clip.proto", "// Crop a square", "// Cut a square", {"schema.py", "params.py"}),
    ],
)
def test_a_changed_default_limit_or_comment_is_noticed(
    tmp_path: Path, file: str, old: str, new: str, changed: set[str]
) -> None:
    protos = tmp_path / "protos"
    shutil.copytree(ROOT / "protos", protos)
    path = protos / "featsvc" / "v1" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    made = generated(protos, tmp_path / "out")
    assert changed == {name for name, content in checked_in().items() if made[name] != content}
