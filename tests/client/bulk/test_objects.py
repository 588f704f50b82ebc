"""Objects of many pictures against the demo server: what is read back is what the client itself is answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featsvc_client import FeatsvcClient
from featsvc_client.bulk import arguments, cli
from PIL import Image
from pycocotools.coco import COCO

from tests.client.bulk.comparison import FEW, NAMES, close, same

# What pycocotools does in its compiled part.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
NOWHERE = "127.0.0.1:1"
LISTS = ("--granularities", '["all", "whole"]')
DESCRIBED = ("--describe", '[{"clip": {}, "crop": {}}, {"dino": {}, "pooled": {}}]')


def test_objects_with_their_vectors_in_one_file_of_many(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient
) -> None:
    assert (
        bulk("objects", "describe", *FEW, *DESCRIBED, *LISTS, "--descriptor-dtype", "int8", "--per-file", "9")
        == 0
    )
    ways = json.loads(DESCRIBED[1])
    with np.load(out / "shard-000000.npz") as file:
        for name in NAMES:
            expected = client.describe_objects(
                pictures / name,
                points_per_side=4,
                describe=ways,
                descriptor_dtype="int8",
                granularities=json.loads(LISTS[1]),
            )
            found = {
                each: file[f"photos/{name}/{each}"] for each in ("vectors_1", "scale_1", "level", "parent")
            }
            close(found["vectors_1"] * found["scale_1"], expected.descriptors[1].array)
            assert file[f"photos/{name}/vectors_0"].shape == expected.descriptors[0].raw.shape
            assert found["level"].tolist() == [each.level for each in expected]
            assert found["parent"].tolist() == [
                -1 if each.parent is None else each.parent for each in expected
            ]
            masks = np.unpackbits(file[f"photos/{name}/masks"], axis=-1, count=expected.width)
            for mask, each in zip(masks, expected, strict=True):
                same(mask, each)
            facts = json.loads(str(file[f"photos/{name}/facts"]))
            assert [each["model"] for each in facts["descriptors"]] == ["demo-clip", "demo-dino"]
            assert facts["granularity"] == [each.granularity for each in expected]


WAY = ("--describe", '[{"clip": {}, "crop": {"background": "black", "squaring": "pad"}}]')
TEXTS = ("a circle", "a square")


def test_objects_that_texts_name_as_coco_with_a_category_for_each_text(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient
) -> None:
    texts = [word for text in TEXTS for word in ("--text", text)]
    assert bulk("objects", "find", *FEW, *WAY, *texts, "--max-matches", "2", "--preview") == 0
    coco = COCO(out / "annotations.json")
    assert {number: each["name"] for number, each in coco.cats.items()} == dict(enumerate(TEXTS, 1))
    for number, image in coco.imgs.items():
        path = pictures.parent / image["file_name"]
        expected = client.find_objects(
            path, TEXTS, points_per_side=4, max_matches=2, describe=json.loads(WAY[1])
        )
        for category, matches in enumerate(expected.found, 1):
            found = coco.loadAnns(coco.getAnnIds(imgIds=[number], catIds=[category]))
            assert len(found) == len(matches) > 0
            for annotation, match in zip(found, matches, strict=True):
                same(coco.annToMask(annotation), expected[match.object])
                assert annotation["score"] == pytest.approx(match.score, abs=1e-3)
        with Image.open(out / "preview" / f"{image['file_name']}.png") as shown, Image.open(path) as picture:
            assert shown.width == picture.width
            assert shown.height > picture.height, "no words"


def test_the_same_object_is_looked_for_by_vectors_in_a_file(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient, tmp_path: Path
) -> None:
    known = client.describe_objects(pictures / NAMES[0], points_per_side=4, describe=json.loads(WAY[1]))
    np.save(tmp_path / "vectors.npy", known.descriptors[0].array[:1])
    words = ("--vectors", str(tmp_path / "vectors.npy"), "--max-matches", "1", "--format", "npz")
    assert bulk("objects", "find", *FEW, *WAY, *words) == 0
    with np.load(out / "photos" / f"{NAMES[0]}.npz") as file:
        assert file["match_score"] == pytest.approx([1], abs=1e-2)
        mask = np.unpackbits(file["masks"][file["match_object"][0]], axis=-1, count=known.width)
        same(mask, known[0])


def test_an_exemplar_is_looked_for_and_a_run_with_it_goes_on(
    bulk: Any,
    pictures: Path,
    out: Path,
    client: FeatsvcClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = client.describe_objects(pictures / NAMES[0], points_per_side=4, describe=json.loads(WAY[1]))
    Image.fromarray(known[0].segmentation).save(tmp_path / "mask.png")
    exemplar = ("--exemplar", str(pictures / NAMES[0]))
    asked = ("objects", "find", *FEW, *WAY, *exemplar, "--max-matches", "1")
    by_mask = ("--exemplar-mask", str(tmp_path / "mask.png"))
    assert bulk(*asked, *by_mask) == 0
    coco = COCO(out / "annotations.json")
    assert [each["name"] for each in coco.cats.values()] == ["exemplar 1"]
    (first,) = (number for number, image in coco.imgs.items() if image["file_name"].endswith(NAMES[0]))
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[first]))
    same(coco.annToMask(annotation), known[0])
    assert annotation["score"] == pytest.approx(1, abs=1e-2)
    # What is done already needs no server, neither for the pictures nor for the exemplar.
    away = ("--out", str(out), "--target", NOWHERE, "--patience", "0.2", "--quiet")
    assert cli.main([*asked, *by_mask, str(pictures), *away]) == 0
    box = ("--exemplar-box", *map(str, known.boxes[0].astype(int)))
    assert bulk(*asked, *box) == 2
    assert "exemplar_box: [] there, [[" in capsys.readouterr().err
    assert bulk(*asked, *box, "--again") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--exemplar-box", "0", "0", "1", "1"), "are of a picture: name it by --exemplar"),
        (("--exemplar", "nowhere.png", "--exemplar-box", "0", "0", "1", "1"), "--exemplar: "),
        (("--exemplar", __file__), "give --exemplar-box or --exemplar-mask, one of the two"),
        (
            ("--exemplar", __file__, "--exemplar-mask", __file__),
            "--exemplar-mask: cannot identify image file",
        ),
    ],
)
def test_what_is_no_exemplar_is_told_before_anything_is_asked(
    words: tuple[str, ...], message: str, bulk: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        bulk("objects", "find", *words)
    assert message in capsys.readouterr().err


def test_an_exemplar_that_the_server_refuses_ends_the_command_and_another_may_follow(
    bulk: Any, pictures: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = ("--exemplar-box", "0", "0", "50", "50")
    assert bulk("objects", "find", *FEW, *WAY, "--exemplar", __file__, *box) == 2
    assert "--exemplar: " in capsys.readouterr().err
    assert bulk("objects", "find", *FEW, *WAY, "--exemplar", str(pictures / NAMES[0]), *box) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--recipe", "hovsg"), "exemplar: way 0 to describe is with_picture"),
        (("--text", "a circle"), "exemplar: give an exemplar or text: one of the two"),
    ],
)
def test_what_cannot_be_beside_an_exemplar_is_told_before_the_folder_is_begun(
    more: tuple[str, ...], message: str, pictures: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exemplar = ("--exemplar", str(pictures / NAMES[0]), "--exemplar-box", "0", "0", "50", "50")
    words = ("objects", "find", str(pictures), "--out", str(out), "--target", NOWHERE, "--patience", "0.2")
    assert cli.main([*words, *exemplar, *more]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_server_that_is_away_is_waited_for_with_an_exemplar_too(
    pictures: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("objects", "find", str(pictures), "--out", str(out), "--target", NOWHERE, "--patience", "0.2")
    exemplar = ("--exemplar", str(pictures / NAMES[0]), "--exemplar-box", "0", "0", "50", "50")
    assert cli.main([*words, *exemplar]) == 3
    said = capsys.readouterr().err
    assert f"no answer from {NOWHERE}" in said
    assert "no answer for 0.2 s" in said


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_folder_of_something_else_is_told_before_an_exemplar_is_described(
    more: tuple[str, ...], bulk: Any, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk("objects", "find", *FEW, *WAY, "--text", "a circle") == 0
    # The server would refuse it.
    exemplar = ("--exemplar", __file__, "--exemplar-box", "0", "0", "50", "50")
    assert bulk("objects", "find", *FEW, *WAY, *exemplar, *more) == 2
    assert "has results of other parameters" in capsys.readouterr().err


def cut_out(mask: np.ndarray, path: Path) -> str:
    """A file in which all but the mask is transparent white."""
    Image.fromarray(np.dstack([np.full((*mask.shape, 3), 255), mask * 255]).astype(np.uint8)).save(path)
    return str(path)


def test_a_cut_out_is_a_mask_of_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:20] = True
    first, other = cut_out(mask, tmp_path / "a.png"), cut_out(mask.T, tmp_path / "b.png")
    words = ["objects", "find", "photos", "--out", "out", "--exemplar", __file__, "--exemplar-mask", first]
    exemplar = arguments.parsed(words).exemplar
    assert exemplar is not None
    np.testing.assert_array_equal(exemplar.masks, [mask])
    with pytest.raises(SystemExit, match="2"):
        arguments.parsed([*words, "--exemplar-mask", other])
    said = capsys.readouterr().err
    assert f"--exemplar-mask: {other} has 20 x 30 pixels, and {first} 30 x 20: all must have" in said
