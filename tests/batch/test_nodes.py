"""What an actor does about pictures of which it dies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from featsvc_client.bulk.folder import Folder

from featsvc.batch import command, engines
from featsvc.batch.nodes import Answering, NodeWork, fitted
from featsvc.batch.places import READ, PicturePlace
from featsvc.errors import FeatsvcError, InvalidArgument
from tests.conformance.pictures import scene

DEADLY = b"deadly"


class Death(BaseException):
    """The end of the actor's process."""


class FakeEngines:
    """Refuses every picture, and dies of one."""

    def __init__(self, boot: object, most_items: int) -> None:
        pass

    def load(self, model: str) -> None:
        assert model == "demo-clip"

    def results(
        self, operation: object, models: object, params: object, items: Sequence[object]
    ) -> list[FeatsvcError]:
        if any(getattr(item, "image", b"") == DEADLY for item in items):
            raise Death
        return [InvalidArgument(f"one of {len(items)}") for _ in items]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeWork:
    monkeypatch.setattr(engines, "InProcess", FakeEngines)
    out = tmp_path / "out"
    Folder(out)
    return command._work(command._parsed(["embed", str(tmp_path), "--out", str(out), "--profile", "demo"]))


def pictures(*contents: bytes) -> pa.Table:
    rows = [
        {
            "position": n,
            "key": str(n),
            "stamp": "",
            "old_output": "",
            "known_digest": "",
            "error": "",
            "content": each,
        }
        for n, each in enumerate(contents, 1)
    ]
    return pa.Table.from_pylist(rows, READ)


def test_a_picture_of_which_actors_die_fails_alone_and_the_others_are_answered(work: NodeWork) -> None:
    given, deaths = pictures(b"a", DEADLY, b"c"), 0
    while True:
        try:
            answered = Answering(work)(given).to_pylist()
            break
        except Death:
            deaths += 1
    assert deaths == 3
    assert [row["error"] for row in answered] == [
        "one of 1",
        "what answered it died each of 3 times",
        "one of 1",
    ]
    assert [path for path in Path(work.stage).iterdir() if path.is_file()] == []


def test_pictures_share_calls_while_nothing_dies(work: NodeWork) -> None:
    actor = Answering(work)
    for _ in range(5):
        assert {row["error"] for row in actor(pictures(b"a", b"b")).to_pylist()} == {"one of 2"}


def test_what_cannot_be_read_or_is_too_large_is_told(work: NodeWork) -> None:
    rows = pictures(b"", b"x" * (work.max_image_bytes + 1), b"c").to_pylist()
    rows[2]["error"] = "is gone"
    told = [row["error"] for row in Answering(work)(pa.Table.from_pylist(rows, READ)).to_pylist()]
    assert told == [
        "the file is empty",
        f"{work.max_image_bytes + 1} bytes, at most {work.max_image_bytes} (--max-image-bytes)",
        "is gone",
    ]


def asked(folder: Path, kind: str, action: str, *options: str) -> tuple[NodeWork, Path]:
    """What an actor has to do by such a command, and a drawn picture."""
    out, picture = folder / "out", folder / "scene.png"
    Folder(out)
    scene().save(picture)
    words = [kind, action, str(picture), "--out", str(out), "--profile=demo", "--offline", *options]
    return command._work(command._parsed(words)), picture


def answered(work: NodeWork, picture: Path) -> dict[str, Any]:
    """The row of its answer, which is no error."""
    (row,) = Answering(work)(pictures(picture.read_bytes())).to_pylist()
    assert not row["error"]
    told: dict[str, Any] = row
    return told


@pytest.mark.slow
def test_models_of_several_families_answer_together(tmp_path: Path) -> None:
    ways = '--describe=[{"clip": {}, "crop": {}}]'
    row = answered(*asked(tmp_path, "objects", "find", "--points-per-side=4", "--text=a red circle", ways))
    kept = json.loads(Path(row["staged"]).read_text())
    assert kept["facts"]["model"] == "demo-sam2"
    assert {each["category_id"] for each in kept["annotations"]} == {1}


@pytest.mark.slow
def test_a_model_by_which_another_goes_is_loaded_and_not_told(tmp_path: Path) -> None:
    proxy = "--dense-recipe=proxyclip", "--proxy-model=demo-dino"
    work, picture = asked(tmp_path, "extract", "clip", "--load-size=64", *proxy)
    answered(work, picture)
    assert (work.models, work.told_models) == (("demo-clip", "demo-dino"), ("demo-clip",))


@pytest.mark.slow
def test_a_basis_is_fitted_over_what_is_drawn_and_shown_by_its_name(tmp_path: Path) -> None:
    options = "--load-size=56", "--ret-pca", "--ret-pca-basis", "--pca-foreground", "--pca-sample=3"
    work, picture = asked(tmp_path, "extract", "dino", *options, "--format=npz")
    turned = tmp_path / "turned.png"
    scene().rotate(90, expand=True).save(turned)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    places = [PicturePlace(str(path), "", str(path)) for path in (picture, turned, broken, tmp_path / "gone")]
    name = fitted(work, places)
    assert isinstance(name, str)
    assert name.startswith("pca1:demo-dino/")
    assert fitted(work, places[:1]) != name == fitted(work, [*places[1::-1], places[0]])
    with np.load(answered(work.asking(work.question.shown_in(name)), picture)["staged"]) as kept:
        facts, colours = json.loads(str(kept["facts"])), kept["features"]
    assert facts["pca_basis"] == name
    assert colours.shape[-1] == 3
    told = fitted(work, places[2:])
    assert isinstance(told, FeatsvcError)
    assert "--pca-seed" in told.message
