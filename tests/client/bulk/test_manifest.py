"""The manifest: read by anybody at any time, written by one run, and true about the model."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featsvc_client.bulk import cli
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.job import check_job, check_models
from featsvc_client.bulk.manifest import NAME, Manifest
from featsvc_client.bulk.records import Result

from featsvc.codec.arrays import to_tensor
from featsvc.v1 import objects_pb2
from tests.client.bulk.service import answer, noted, photos, run, started
from tests.client.gateway import answering


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_a_reader_in_the_middle_of_a_question_keeps_no_run_from_its_end(tmp_path: Path, out: Path) -> None:
    pictures = photos(tmp_path / "photos", 3)
    with answering(answer) as script:
        assert run(script, pictures, "--out", out) == 0
        with closing(sqlite3.connect(out / NAME, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM results").fetchone() == (3,)
            photos(tmp_path / "photos", 5)
            assert run(script, pictures, "--out", out) == 0
            assert reader.execute("SELECT count(*) FROM results").fetchone() == (3,)
        assert len(noted(out)) == 5


def test_a_run_keeps_no_reader_waiting(out: Path) -> None:
    out.mkdir()
    with closing(Manifest(out / NAME)) as manifest:
        manifest.begin_run("a job", "")
        position = manifest.see("a").position
        manifest.announce(Result(position, "", "", "a.npy", 1, "demo"))
        with closing(sqlite3.connect(out / NAME, timeout=0)) as reader:
            assert reader.execute("SELECT key, model FROM results").fetchall() == [("a", "demo")]
        manifest.confirm(position)


def described(models: tuple[str, ...]) -> objects_pb2.DescribeObjectsResponse:
    """No objects, described by these models."""
    vectors = to_tensor(np.zeros((0, 4), np.float32))
    ways = [objects_pb2.ObjectVectors(vectors=vectors, model=each) for each in models]
    return objects_pb2.DescribeObjectsResponse(height=2, width=2, model="sam", descriptors=ways)


def found(models: tuple[str, ...]) -> objects_pb2.FindObjectsResponse:
    """Nothing that fits, of what these models describe."""
    none = objects_pb2.ObjectMatches()
    return objects_pb2.FindObjectsResponse(
        height=2, width=2, model="sam", found=[none], descriptor_models=models
    )


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (("describe",), described),
        (("find", "--text=a"), found),
        (("find", "--text=a", "--format=npz"), found),
    ],
)
def test_what_describes_objects_is_of_one_folder_too(
    words: tuple[str, ...],
    reply: Callable[[tuple[str, ...]], Any],
    tmp_path: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("objects", *words, str(photos(tmp_path / "photos", 2)), "--out", str(out), "--quiet")

    def ask(*models: str) -> int:
        with answering(
            lambda request: reply(models) if hasattr(request, "image") else answer(request)
        ) as script:
            return cli.main([*command, "--target", script.target])

    assert ask("clip", "dino") == 0
    assert ask("clip", "dino") == 0
    photos(tmp_path / "photos", 3)
    assert ask("clip", "other") == 2
    assert "with sam, clip, other, but the results here are of sam, clip, dino:" in capsys.readouterr().err
    assert ask("clip", "dino") == 0


def test_models_that_an_answer_does_not_name_are_noted_when_one_does(out: Path) -> None:
    out.mkdir()
    with closing(Manifest(out / NAME)) as manifest:
        manifest.begin_run("a job", "")
        for models in (("sam",), ("sam", "clip"), ("sam",)):
            check_models(manifest, models)
        with pytest.raises(Refused, match="sam, other, but the results here are of sam, clip:"):
            check_models(manifest, ("sam", "other"))


def test_a_dry_run_reads_beside_a_run(tmp_path: Path, out: Path) -> None:
    pictures = photos(tmp_path / "photos", 2)
    with answering(answer) as script:
        assert run(script, pictures, "--out", out) == 0
        with closing(Manifest(out / NAME)):
            assert run(script, pictures, "--out", out, "--dry-run") == 0


def test_the_folder_of_a_killed_run_is_free(tmp_path: Path, out: Path) -> None:
    pictures = photos(tmp_path / "photos", 2)
    with answering(answer) as script:
        process = started(script, pictures, "--out", out)
        process.kill()
        process.communicate()
        assert run(script, pictures, "--out", out) == 0


def test_a_model_that_was_left_to_the_server_is_noted_as_what_answered_only(
    tmp_path: Path, out: Path
) -> None:
    pictures = photos(tmp_path / "photos", 1)
    with answering(answer) as script:
        assert run(script, pictures, "--out", out) == 0
    ((parameters, model),) = noted(out, "parameters, model")
    assert model == "demo"
    assert not {name for name in json.loads(parameters)["params"] if name.startswith("model_")}
    with answering(answer) as script:
        assert run(script, pictures, "--out", out, "--again", "--model-name", "ViT-B-32") == 0
    assert json.loads(noted(out, "parameters")[0][0])["params"]["model_name"] == "ViT-B-32"


def test_other_parameters_are_told_briefly(out: Path) -> None:
    def job(letter: str) -> str:
        vectors = {"dtype": "float32", "shape": [1, 512], "data": letter * 2732}
        texts = ["a long text of many words"] * 100 + [letter]
        return json.dumps(
            {"query": {"vectors": vectors, "text": texts}, "params": {"min_score": ord(letter)}}
        )

    out.mkdir()
    with closing(Manifest(out / NAME)) as manifest:
        manifest.begin_run(job("A"), "")
        manifest.fail(manifest.see("a.jpg").position, "", "", "no picture")
        with pytest.raises(Refused) as refused:
            check_job(manifest, job("B"), out, is_again=False)
    said = str(refused.value).removeprefix(str(out))
    assert len(said) < 800
    assert "min_score: 65 there, 66 now" in said
    tensors = re.findall(r"float32 \[1, 512\] \(sha256 (\w+)\)", said)
    texts = re.findall(r"… \(sha256 (\w+)\)", said)
    assert len(set(tensors)) == len(set(texts)) == 2
