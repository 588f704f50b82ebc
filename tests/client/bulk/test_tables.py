"""Parquet: pictures in a column of it, and results as its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from featsvc_client.bulk.formats import FORMATS
from featsvc_client.bulk.outcomes import Outcome

from tests.client.bulk.service import answer, asked, content, features, noted, photos, run
from tests.client.gateway import answering

COLUMN = [content(number) for number in range(7)]
KINDS = {
    "bare": (pa.array(COLUMN, pa.binary()), "shot"),
    "of datasets": (pa.array([{"bytes": each, "path": None} for each in COLUMN]), "image"),
}


def table(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_asked_about_by_its_number(tmp_path: Path, kind: str) -> None:
    column, name = KINDS[kind]
    (tmp_path / "in").mkdir()
    table(tmp_path / "in" / "set.parquet", label=list(range(7)), **{name: column})
    with answering(answer) as script:
        assert run(script, tmp_path / "in", "--out", tmp_path / "out") == 0
        assert run(script, tmp_path / "in", "--out", tmp_path / "out") == 0
    assert asked(script) == dict.fromkeys(COLUMN, 1)
    np.testing.assert_array_equal(
        np.load(tmp_path / "out" / "in" / "set.parquet" / "00000004.npy"), features(content(4))
    )


def test_a_row_without_a_picture_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    file = table(tmp_path / "set.parquet", image=pa.array([COLUMN[0], None, COLUMN[2]], pa.binary()))
    with answering(answer) as script:
        assert run(script, file, "--out", tmp_path / "out") == 1
    assert [row[:2] for row in noted(tmp_path / "out", "key, state, error")] == [
        ("set.parquet/00000000", "done"),
        ("set.parquet/00000001", "failed"),
        ("set.parquet/00000002", "done"),
    ]


def test_the_column_is_to_be_named_where_several_may_have_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {"image": pa.array(COLUMN, pa.binary()), "mask": pa.array(COLUMN[::-1], pa.binary())}
    file = table(tmp_path / "set.parquet", **columns)
    with answering(answer) as script:
        assert run(script, file, "--out", tmp_path / "out") == 2
        assert "2 columns of bytes (image, mask): --column names" in capsys.readouterr().err
        assert run(script, file, "--out", tmp_path / "out", "--column", "none") == 2
        assert "no column none of bytes" in capsys.readouterr().err
        assert run(script, file, "--out", tmp_path / "out", "--column", "mask") == 0
    np.testing.assert_array_equal(
        np.load(tmp_path / "out" / "set.parquet" / "00000000.npy"), features(content(6))
    )


def test_rows_are_done_again_where_another_column_is_named(tmp_path: Path) -> None:
    columns = {"a": pa.array(COLUMN[:3], pa.binary()), "b": pa.array(COLUMN[3:6], pa.binary())}
    file = table(tmp_path / "set.parquet", **columns)
    with answering(answer) as script:
        for column in columns:
            assert run(script, file, "--out", tmp_path / "out", "--column", column) == 0
    for number in range(3):
        np.testing.assert_array_equal(
            np.load(tmp_path / "out" / "set.parquet" / f"{number:08d}.npy"), features(content(number + 3))
        )


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "set.parquet").write_bytes(b"PAR1 and no more")
    with answering(answer) as script:
        assert run(script, tmp_path / "set.parquet", "--out", tmp_path / "out") == 1
    ((key, state, error),) = noted(tmp_path / "out", "key, state, error")
    assert (key, state) == ("set.parquet", "failed")
    assert "set.parquet" in error


@pytest.mark.parametrize("per_file", [1, 3])
def test_results_are_rows_with_bytes_shape_and_element_type(tmp_path: Path, per_file: int) -> None:
    folder, out = photos(tmp_path / "photos", 4), tmp_path / "out"
    with answering(answer) as script:
        assert run(script, folder, "--out", out, "--format", "parquet", "--per-file", per_file) == 0
    rows = [row for path in sorted(out.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert len(rows) == 4
    for number, row in enumerate(rows):
        cell = row["features"]
        array = np.frombuffer(cell["data"], cell["dtype"]).reshape(cell["shape"])
        np.testing.assert_array_equal(array, features(content(number)))
        assert '"model": "demo"' in row["facts"]
        assert row["key"] == ("" if per_file == 1 else f"photos/{number:04d}.png")


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    given = {
        "a": Outcome({"x.bfloat16": np.arange(6, dtype=np.uint16).reshape(2, 3)}, {"model": "m"}),
        "b": Outcome({"y": np.zeros((0, 4), np.float64), "z": np.array([-1, 2], np.int8)}, {"n": [1, None]}),
    }
    form = FORMATS["parquet"]
    form.write(tmp_path / "x.parquet", given)
    assert form.read is not None
    found = form.read(tmp_path / "x.parquet")
    assert {key: each.facts for key, each in found.items()} == {
        key: each.facts for key, each in given.items()
    }
    for key, each in given.items():
        assert found[key].arrays.keys() == each.arrays.keys()
        for name, array in each.arrays.items():
            np.testing.assert_array_equal(found[key].arrays[name], array, strict=True)
