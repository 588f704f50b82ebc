"""Folders, globs, lists, archives and videos as pictures with names."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from featsvc_client.bulk import kinds
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.items import in_order
from PIL import Image

from featsvc.settings.tree import Settings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which names are looked for."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(name: str, content: bytes | None = None) -> bytes:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode() if content is None else content)
    return path.read_bytes()


def archive(name: str, *members: str) -> None:
    with tarfile.open(name, "w:gz" if name.endswith("gz") else "w") as file:
        for member in members:
            entry = tarfile.TarInfo(member)
            entry.size = len(member)
            file.addfile(entry, io.BytesIO(member.encode()))


def video(name: str, frames: int) -> None:
    """A video whose frames become brighter."""
    with av.open(name, "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def found(*names: str, every: int = 1, out: str = "out") -> dict[str, bytes]:
    inputs = Inputs(names, every, Path(out).resolve())
    inputs.check()
    items = [(item.key, item.read()) for source in inputs.sources() for item in source.items()]
    assert inputs.count() == len(items)
    assert len(dict(items)) == len(items)
    return dict(items)


def test_a_folder_is_read_with_all_below_it_in_order() -> None:
    names = ["photos/b.jpg", "photos/a/2.PNG", "photos/a/10.webp", "photos/c.tiff"]
    content = {name: written(name) for name in names}
    for other in ("photos/notes.md", "photos/.hidden.jpg", "photos/.thumbs/a.jpg", "photos/label.json"):
        written(other)
    assert found("photos") == content
    assert list(found("photos")) == ["photos/a/10.webp", "photos/a/2.PNG", "photos/b.jpg", "photos/c.tiff"]
    assert list(found(str(Path("photos").resolve()))) == list(found("photos"))
    os.chdir("photos")
    assert list(found(".")) == ["a/10.webp", "a/2.PNG", "b.jpg", "c.tiff"]


def test_a_name_that_is_no_text_has_a_key_that_is() -> None:
    content = written(os.fsdecode(b"photos/a\xff.jpg"), b"a")
    assert found("photos") == {"photos/a\\udcff.jpg": content}


def test_the_results_are_not_read_even_where_they_lie_among_the_pictures() -> None:
    written("photos/a.jpg")
    written("photos/out/preview/a.jpg.png")
    assert list(found("photos", out="photos/out")) == ["photos/a.jpg"]
    with pytest.raises(Refused, match="choose another --out"):
        found("photos", out="photos")


def test_a_glob_finds_what_it_matches() -> None:
    for name in ("photos/1/a.jpg", "photos/2/a.jpg", "photos/2/b.png"):
        written(name)
    assert list(found("photos/*/*.jpg")) == ["photos/1/a.jpg", "photos/2/a.jpg"]
    assert list(found("photos/**/b.*")) == ["photos/2/b.png"]
    assert list(found(str(Path("photos").resolve() / "*/a.jpg"))) == ["photos/1/a.jpg", "photos/2/a.jpg"]


def test_a_list_names_all_that_the_command_line_may_name() -> None:
    written("a.jpg")
    written("photos/b.jpg")
    archive("c.tar", "c1.png")
    written("list.txt", b"a.jpg\n\nphotos\nc.tar\n")
    assert list(found("list.txt")) == ["a.jpg", "photos/b.jpg", "c.tar/c1.png"]


def test_a_name_in_a_list_that_means_nothing_is_a_picture_that_cannot_be_read() -> None:
    written("list.txt", b"missing.jpg\n")
    (source,) = Inputs(("list.txt",), 1, Path("out")).sources()
    (item,) = source.items()
    assert item.key == "missing.jpg"
    with pytest.raises(FileNotFoundError):
        item.read()


@pytest.mark.parametrize("name", ["missing", "missing/*.jpg"])
def test_a_name_on_the_command_line_that_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="no such file"):
        found(name)


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_an_archive_is_read_as_its_pictures(name: str) -> None:
    archive(name, "0001.jpg", "0001.json", "0002.jpg", "sub/0003.png", "../up.png")
    assert found(name) == {
        f"{name}/0001.jpg": b"0001.jpg",
        f"{name}/0002.jpg": b"0002.jpg",
        f"{name}/sub/0003.png": b"sub/0003.png",
        f"{name}/up.png": b"../up.png",
    }


@pytest.mark.parametrize("kept", [0, 300, 516, 600, 1100])
def test_an_archive_that_is_cut_off_gives_what_it_has_and_an_item_that_fails(kept: int) -> None:
    archive("whole.tar", "1.jpg", "2.jpg")
    Path("cut.tar").write_bytes(Path("whole.tar").read_bytes()[:kept])
    (source,) = Inputs(("cut.tar",), 1, Path("out")).sources()
    outcomes = {}
    for item in source.items():
        try:
            outcomes[item.key] = item.read()
        except OSError as error:
            outcomes[item.key] = type(error)
    assert outcomes.get("cut.tar/1.jpg", b"1.jpg") in (b"1.jpg", OSError)
    assert OSError in {each if isinstance(each, type) else None for each in outcomes.values()}


def test_a_video_is_read_frame_by_frame_with_a_step() -> None:
    video("clip.mp4", 7)
    frames = found("clip.mp4", every=3)
    assert list(frames) == ["clip.mp4/00000000", "clip.mp4/00000003", "clip.mp4/00000006"]
    for key, content in frames.items():
        with Image.open(io.BytesIO(content)) as frame:
            assert abs(np.asarray(frame).mean() - 20 * int(key[-1])) < 5


def test_a_video_that_is_none_is_an_item_that_fails() -> None:
    written("clip.mp4", b"no video")
    (source,) = Inputs(("clip.mp4",), 1, Path("out")).sources()
    (item,) = source.items()
    with pytest.raises(OSError, match=r"clip\.mp4"):
        item.read()


def test_all_kinds_go_together() -> None:
    written("photos/a.jpg")
    written("b.png")
    archive("c.tar", "c.png")
    video("photos/d.mp4", 2)
    archive("photos/e.tar", "e.png")
    assert list(found("photos", "*.png", "c.tar")) == [
        "photos/a.jpg",
        "photos/d.mp4/00000000",
        "photos/d.mp4/00000001",
        "photos/e.tar/e.png",
        "b.png",
        "c.tar/c.png",
    ]


def test_names_are_sorted_whatever_they_are_made_of() -> None:
    names = [os.fsdecode(each) for each in (b"b", b"a\xff", b"a", "ä".encode())]
    assert list(in_order(names)) == sorted(names, key=os.fsencode)


def test_the_pictures_of_a_folder_are_those_that_a_server_takes() -> None:
    Image.init()
    formats = {kind: Image.EXTENSION.get(kind, "") for kind in kinds.PICTURES}
    assert {kind: name for kind, name in formats.items() if name not in Settings().image_formats} == {}
