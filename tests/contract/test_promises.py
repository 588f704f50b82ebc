"""The compiled contract that callers were promised: `make check` fails where something of it is taken back."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from featsvc.settings.access import KeyLimits
from featsvc.v1 import model_pb2

ROOT = Path(__file__).parents[2]
IMAGE = "protos/contract-v1.binpb"


def command() -> list[str]:
    """What `make check` runs."""
    printed = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/.ready", "check"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (line,) = re.findall(r"^\S*/buf (breaking .*)$", printed, re.MULTILINE)
    return [str(Path(sys.executable).parent / "buf"), *line.split()]


def compared(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(), cwd=folder, check=False, capture_output=True, text=True)


def test_the_contract_is_compared_with_the_image_that_is_checked_in() -> None:
    assert command()[1:] == ["breaking", "--against", IMAGE]
    listed = subprocess.run(["git", "ls-files", IMAGE], cwd=ROOT, check=True, capture_output=True, text=True)
    assert listed.stdout.strip() == IMAGE


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("clip", r"  // Crop a square.*\n.*\n", "", 'Previously present field "2" with name "center_crop"'),
        ("dino", r"int32 layer = 4", "int64 layer = 4", "changed type"),
        ("features", r"ret_patches = 1", "ret_patch = 1", "changed name"),
        ("features", r"padding_mode = 3", "padding_mode = 30", 'Previously present field "3"'),
        (
            "sam2",
            r"  // A PNG file of one bit a pixel for each mask\.\n  MASK.*\n",
            "",
            "Previously present enum value",
        ),
        ("sam2", r"  // Encodes a picture before.*\n.*\n", "", 'Previously present RPC "EmbedImage"'),
    ],
)
def test_what_callers_were_promised_cannot_be_taken_back(
    tmp_path: Path, file: str, old: str, new: str, told: str
) -> None:
    changed(tmp_path, file, old, new)
    found = compared(tmp_path)
    assert found.returncode != 0
    assert told in found.stdout


def test_the_contract_may_grow(tmp_path: Path) -> None:
    changed(tmp_path, "clip", r"(message ClipModel \{\n)", r"\1  // New.\n  optional bool new = 3;\n")
    assert compared(tmp_path).returncode == 0


def test_a_caller_is_told_every_limit_that_its_key_has() -> None:
    told = {field.name for field in model_pb2.CallerLimits.DESCRIPTOR.fields}
    assert told == {field.name for field in fields(KeyLimits)}


def changed(folder: Path, file: str, old: str, new: str) -> None:
    """A copy of the contract with one change."""
    shutil.copytree(ROOT / "protos", folder / "protos")
    shutil.copy(ROOT / "buf.yaml", folder)
    path = folder / "protos" / "featsvc" / "v1" / f"{file}.proto"
    text, count = re.subn(old, new, path.read_text())
    assert count == 1
    path.write_text(text)
