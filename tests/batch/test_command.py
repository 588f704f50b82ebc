"""The command line of `featsvc batch`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from featsvc_client.bulk.commands import COMMANDS
from featsvc_client.bulk.extra import Refused

from featsvc.batch import command
from featsvc.batch.run import Run
from featsvc.server.commands import batch
from featsvc.server.commands.cli import main


@pytest.mark.parametrize("words", [each.words for each in COMMANDS], ids=" ".join)
def test_each_command_of_the_client_has_its_options_and_the_settings_of_engines(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([*words, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for flag in ("--out", "--per-file", "--model-", "--precision", "--ray-workers", "--max-image-pixels"):
        assert flag in told
    for flag in ("--target", "--api-key", "--dry-run", "--max-queue", "--preload", "--every"):
        assert flag not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--model-type", "none"), "none"),
        (("--dtype", "int8"), "--format npz"),
        (("--per-file", "2"), "--per-file"),
        (("--ray-workers", "4..2"), "ray_workers"),
        (("--model-type", "dinov2_vits14", "--offline"), "dinov2_vits14"),
        (("--ret-pca", f"--pca-digests=sha256:{64 * '0'}"), "pca_digests: names pictures that a server"),
        (("--ret-pca", "--pca-sample=17"), "--pca-sample 17: at most 16 (--max-basis-pictures)"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_started(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")
    asked = ["extract", "dino", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), *words]
    # Not by `featsvc batch`, which looks for Ray first: the tests do without.
    program = "import sys; from featsvc.batch.command import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run([sys.executable, "-c", program, *asked], capture_output=True, text=True)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_the_models_that_describe_are_of_one_folder_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")
    words = ["objects", "describe", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--quiet"]
    words += ["--profile=demo", "--offline", '--describe=[{"clip": {}, "crop": {}}]']
    asked = command._parsed(words)
    work = command._work(asked)
    monkeypatch.setattr(command, "setup", lambda *_: None)
    monkeypatch.setattr(Run, "plan", lambda _: [])
    assert asyncio.run(command._run(asked)) == 0
    monkeypatch.setattr(command, "_work", lambda _: replace(work, also=("other",)))
    with pytest.raises(
        Refused, match="with demo-sam2, other, but the results here are of demo-sam2, demo-clip:"
    ):
        asyncio.run(command._run(asked))


def test_without_ray_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batch, "find_spec", lambda name: None)
    assert main(["batch", "embed", "a.png"]) == 2
    assert "batch: ray is not installed: pip install '.[ray]'" in capsys.readouterr().err


def test_the_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["batch", "--help"])
    assert "extract clip" in capsys.readouterr().out
