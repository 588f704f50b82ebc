"""What a second run does: nothing twice, and all that has changed."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from featsvc_client.bulk.manifest import NAME, Manifest
from featsvc_client.bulk.records import Result
from featsvc_client.pictures import Picture

from tests.client.bulk.service import answer, asked, content, features, noted, photos, results, run
from tests.client.gateway import Refusal, answering

FORMATS = [
    ("--format", "npy"),
    ("--format", "npz", "--per-file", 3),
    ("--format", "safetensors", "--per-file", 3),
    ("--format", "parquet", "--per-file", 3),
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return photos(tmp_path / "photos", 7)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("form", FORMATS)
def test_a_finished_folder_asks_nothing_again(pictures: Path, out: Path, form: tuple[Any, ...]) -> None:
    with answering(answer) as script:
        assert run(script, pictures, "--out", out, *form) == 0
        first = results(out)
        assert run(script, pictures, "--out", out, *form) == 0
    assert asked(script) == {content(number): 1 for number in range(7)}
    assert results(out) == first


def test_the_manifest_tells_where_each_result_comes_from(pictures: Path, out: Path) -> None:
    with answering(answer) as script:
        assert run(script, pictures, "--out", out, "--load-size", 56) == 0
    key, state, output, nbytes, digest, model, server, parameters = noted(out)[2]
    assert (key, state, output) == ("photos/0002.png", "done", "photos/0002.png.npy")
    assert (out / output).stat().st_size == nbytes
    assert digest == Picture(content(2)).digest
    assert (model, server) == ("demo", "1.2.3")
    assert '"load_size": 56' in parameters
    np.testing.assert_array_equal(np.load(out / output), features(content(2)))


@pytest.mark.parametrize("form", FORMATS)
def test_what_has_changed_or_is_gone_is_asked_again(pictures: Path, out: Path, form: tuple[Any, ...]) -> None:
    with answering(answer) as script:
        assert run(script, pictures, "--out", out, *form) == 0
        (pictures / "0001.png").write_bytes(b"another picture")
        (pictures / "0002.png").write_bytes(content(2))
        os.utime(pictures / "0003.png", ns=(1, 1))
        (pictures / "0009.png").write_bytes(content(9))
        assert run(script, pictures, "--out", out, *form) == 0
    counts = asked(script)
    assert counts.pop(b"another picture") == 1
    assert counts == {content(number): 1 for number in (*range(7), 9)}
    with answering(answer) as fresh:
        assert run(fresh, pictures, "--out", out.with_name("fresh"), *form) == 0
    assert results(out) == results(out.with_name("fresh"))


@pytest.mark.parametrize("form", FORMATS)
def test_a_result_that_somebody_removed_is_made_again(
    pictures: Path, out: Path, form: tuple[Any, ...]
) -> None:
    with answering(answer) as script:
        assert run(script, pictures, "--out", out, *form) == 0
        first = results(out)
        lost = sorted(first)[1]
        (out / lost).unlink()
        assert run(script, pictures, "--out", out, *form) == 0
    assert results(out) == first
    assert sum(asked(script).values()) == 7 + (1 if form[1] == "npy" else 3)


def test_a_changed_parameter_is_refused_until_all_is_wanted_again(
    pictures: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(answer) as script:
        assert run(script, pictures, "--out", out) == 0
        assert run(script, pictures, "--out", out, "--load-size", 56) == 2
        said = capsys.readouterr().err
        assert "load_size: 1024 there, 56 now" in said
        assert "--again" in said
        assert sum(asked(script).values()) == 7
        assert run(script, pictures, "--out", out, "--load-size", 56, "--again") == 0
        assert run(script, pictures, "--out", out, "--load-size", 56) == 0
        assert set(asked(script).values()) == {2}
        assert run(script, pictures, "--out", out, "--load-size", 56, "--format", "npz") == 2
        assert run(script, pictures, "--out", out, "--load-size", 56, "--format", "npz", "--again") == 0
    assert {Path(name).suffix for name in results(out)} == {".npz"}


def test_of_files_of_many_pictures_those_of_other_parameters_do_not_stay(pictures: Path, out: Path) -> None:
    with answering(answer) as script:
        assert run(script, pictures, "--out", out, "--format", "npz", "--per-file", 2) == 0
        assert len(results(out)) == 4
        assert run(script, pictures, "--out", out, "--format", "npz", "--per-file", 5, "--again") == 0
    assert sorted(results(out)) == ["shard-000000.npz", "shard-000001.npz"]


def test_an_interrupted_run_that_began_anew_goes_on(pictures: Path, out: Path) -> None:
    calls = 0

    def breaking(request: Any) -> Any:
        nonlocal calls
        calls += hasattr(request, "image")
        return Refusal(grpc.StatusCode.UNAUTHENTICATED, "key withdrawn") if calls == 11 else answer(request)

    with answering(breaking) as script:
        assert run(script, pictures, "--out", out, "--concurrency", 1) == 0
        assert run(script, pictures, "--out", out, "--concurrency", 1, "--again") == 2
        assert run(script, pictures, "--out", out, "--concurrency", 1, "--again") == 0
    assert sum(asked(script).values()) == 7 + 7 + 1


def test_another_model_is_noticed(pictures: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(answer) as script:
        assert run(script, pictures, "--out", out) == 0
    (pictures / "more.png").write_bytes(b"more")
    with answering(lambda request: answer(request, "other")) as script:
        assert run(script, pictures, "--out", out) == 2
        assert "answers with other, but the results here are of demo" in capsys.readouterr().err
        assert run(script, pictures, "--out", out, "--again") == 0
    assert {model for (model,) in noted(out, "model")} == {"other"}


def test_a_bad_picture_is_recorded_and_passed_by(
    pictures: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "0003.png").write_bytes(b"bad")
    (pictures / "0004.png").unlink()
    (pictures / "0004.png").symlink_to("nowhere")
    with answering(answer) as script:
        assert run(script, pictures, "--out", out) == 1
        failed = {key: error for key, state, error in noted(out, "key, state, error") if state == "failed"}
        assert failed["photos/0003.png"] == "image: is damaged"
        assert "No such file" in failed["photos/0004.png"]
        assert len(results(out)) == 5
        assert run(script, pictures, "--out", out) == 1
        assert asked(script)[b"bad"] == 1
        assert run(script, pictures, "--out", out, "--retry-failed") == 1
        assert asked(script)[b"bad"] == 2
        (pictures / "0003.png").write_bytes(content(3))
        (pictures / "0004.png").unlink()
        (pictures / "0004.png").write_bytes(content(4))
        assert run(script, pictures, "--out", out) == 0
    assert len(results(out)) == 7


@pytest.mark.parametrize("form", FORMATS)
def test_a_picture_that_has_become_bad_has_no_old_result(
    pictures: Path, out: Path, form: tuple[Any, ...]
) -> None:
    with answering(answer) as script:
        assert run(script, pictures, "--out", out, *form) == 0
        (pictures / "0003.png").write_bytes(b"bad")
        assert run(script, pictures, "--out", out, *form) == 1
    with answering(answer) as fresh:
        assert run(fresh, pictures, "--out", out.with_name("fresh"), *form) == 1
    assert results(out) == results(out.with_name("fresh"))


def test_two_pictures_of_one_name_are_not_taken_for_one(pictures: Path, out: Path, tmp_path: Path) -> None:
    photos(tmp_path / "other" / "photos", 1)
    with answering(answer) as script:
        assert run(script, pictures, tmp_path / "other" / "photos", "--out", out) == 1
    assert sum(asked(script).values()) == 7
    assert len(results(out)) == 7


def test_a_folder_belongs_to_one_run_at_a_time(
    pictures: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    with answering(answer) as script, closing(Manifest(out / NAME)):
        assert run(script, pictures, "--out", out) == 2
    assert "another featsvc-client is at work" in capsys.readouterr().err
    assert asked(script) == {}


@pytest.mark.parametrize(("is_there", "state"), [(True, "done"), (False, "seen")])
def test_what_was_announced_is_done_only_where_its_file_is_there(
    tmp_path: Path, is_there: bool, state: str
) -> None:
    with closing(Manifest(tmp_path / NAME)) as manifest:
        manifest.begin_run("{}", "")
        position = manifest.see("a").position
        manifest.announce(Result(position, "stamp", "digest", "a.npy", 7, "demo"))
    with closing(Manifest(tmp_path / NAME, lambda _: is_there)) as manifest:
        manifest.begin_run("{}", "")
        assert manifest.see("a").state == state


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, 2, "wrong"),
        (grpc.StatusCode.NOT_FOUND, 2, "wrong"),
        (grpc.StatusCode.UNAVAILABLE, 3, "goes on"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 3, "goes on"),
    ],
)
def test_what_no_picture_gets_past_ends_the_run(
    pictures: Path, out: Path, capsys: pytest.CaptureFixture[str], code: Any, status: int, said: str
) -> None:
    with answering(Refusal(code, "wrong")) as script:
        assert run(script, pictures, "--out", out, "--patience", 0.2) == status
    assert said in capsys.readouterr().err
    assert results(out) == {}
