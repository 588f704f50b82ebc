"""Where pictures are, and that whoever is told so reads the same as the client of a server."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.inputs import Inputs

from featsvc.batch.places import AT_ONCE, PicturePlace, contents, parts
from tests.client.bulk.service import content, photos


def inputs(*names: Path) -> Inputs:
    return Inputs(tuple(map(str, names)), 1, Path("/nowhere"))


def archive(path: Path, count: int) -> Path:
    with tarfile.open(path, "w") as file:
        for number in range(count):
            for suffix, data in ((".txt", b"a label"), (".png", content(number))):
                member = tarfile.TarInfo(f"{number:04d}{suffix}")
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))
    return path


def found(*names: Path) -> dict[str, bytes | str]:
    return {
        place.key: read
        for part in parts(inputs(*names))
        for place, read in zip(part, contents(part), strict=True)
    }


def by_client(*names: Path) -> dict[str, bytes]:
    return {item.key: item.read() for source in inputs(*names).sources() for item in source.items()}


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A folder with pictures, an archive and a Parquet file."""
    folder = photos(tmp_path / "set", AT_ONCE + 5)
    archive(folder / "shard.tar", AT_ONCE + 7)
    column = pa.array([content(number) for number in range(10)], pa.binary())
    pq.write_table(pa.table({"image": column}), folder / "rows.parquet", row_group_size=4)
    return folder


def test_nodes_read_what_the_client_reads(everything: Path) -> None:
    # In the same order, too: the place in it is the place in a shard.
    assert list(found(everything).items()) == list(by_client(everything).items())
    assert len(found(everything)) == 2 * AT_ONCE + 22


def test_names_and_stamps_are_those_of_the_client_so_that_either_goes_on(everything: Path) -> None:
    places = {place.key: place.stamp for part in parts(inputs(everything)) for place in part}
    items = {item.key: item.stamp for source in inputs(everything).sources() for item in source.items()}
    assert places == items


def test_a_row_of_another_column_is_another_picture(tmp_path: Path) -> None:
    columns = {name: pa.array([content(0)], pa.binary()) for name in ("a", "b")}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    stamps = {
        place.stamp
        for column in columns
        for part in parts(Inputs((str(tmp_path / "rows.parquet"),), 1, Path("/nowhere"), column))
        for place in part
    }
    assert len(stamps) == 2


def test_a_task_reads_no_more_than_so_many_at_once_and_no_less_than_a_row_group(everything: Path) -> None:
    sizes = [len(part) for part in parts(inputs(everything))]
    assert sorted(sizes) == sorted([AT_ONCE, 5, AT_ONCE, 7, 4, 4, 2])


def test_what_cannot_be_read_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    file = archive(tmp_path / "cut.tar", 3)
    file.write_bytes(file.read_bytes()[: 5 * 512 + 100])
    column = pa.array([content(0), None], pa.binary())
    pq.write_table(pa.table({"image": column}), tmp_path / "rows.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    told = found(file, tmp_path / "rows.parquet", tmp_path / "bad.parquet")
    assert told["cut.tar/0000.png"] == content(0)
    assert "cut.tar" in str(told["cut.tar"])
    assert told["rows.parquet/00000001"] == "this row has no picture"
    assert "bad.parquet" in str(told["bad.parquet"])
    (gone,) = contents([PicturePlace("gone.png", "", str(tmp_path / "gone.png"))])
    assert "No such file" in str(gone)


def test_of_a_table_written_again_while_it_is_read_each_row_fails_alone(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"image": pa.array([content(n) for n in range(3)], pa.binary())}), file, row_group_size=2
    )
    planned = [place for part in parts(inputs(file)) for place in part]
    pq.write_table(pa.table({"image": pa.array([content(0)], pa.binary())}), file)
    first, second, third = contents(planned)
    assert first == content(0)
    assert "was written again while it was read" in str(second)
    assert isinstance(third, str), "its row group is gone"
    pq.write_table(pa.table({"other": pa.array([content(0)], pa.binary())}), file)
    (gone,) = contents(planned[:1])
    assert "was written again while it was read" in str(gone)


@pytest.mark.parametrize("name", ["film.mp4", "shard.tar.gz"])
def test_what_nodes_cannot_read_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(Refused, match="batch reads no videos and no compressed archives"):
        list(parts(inputs(tmp_path / name)))
