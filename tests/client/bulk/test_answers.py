"""Every command and format against the demo server: what is read back is what the client itself is answered."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from featsvc_client import FeatsvcClient
from featsvc_client.bulk import cli, preview
from featsvc_client.bulk.formats import read_safetensors
from featsvc_client.drawing import heat_picture, pca_picture
from featsvc_client.results import as_float32
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.mask import toBbox
from safetensors import safe_open

from tests.client.bulk.comparison import FEW, NAMES, close, same
from tests.servers import KEY, Server

# What pycocotools does in its compiled part.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SMALL = ("--load-size", "64")


def test_features_as_npy_with_previews(bulk: Any, pictures: Path, out: Path, client: FeatsvcClient) -> None:
    assert bulk("extract", "dino", "--preview") == 0
    for name in NAMES:
        expected = client.dino_features(pictures / name)
        close(np.load(out / "photos" / f"{name}.npy"), expected.array)
        with Image.open(out / "preview" / "photos" / f"{name}.png") as shown:
            assert shown.size == sizes(pictures)[name]
            assert np.asarray(shown).std() > 10


def sizes(pictures: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for name in NAMES:
        with Image.open(pictures / name) as opened:
            found[name] = opened.size
    return found


def test_previews_of_a_run_have_one_basis_also_when_it_goes_on(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient, tmp_path: Path
) -> None:
    assert bulk("extract", "dino", "--preview") == 0
    flat = client.dino_features(pictures / NAMES[0]).array.reshape(-1, 128).astype(np.float64)
    with np.load(out / "preview" / "basis.npz") as basis:
        kept = {name: basis[name] for name in basis.files if name != "job"}
    shown = preview.projected(flat, kept)
    assert shown.min() == 0
    assert shown.max() == 1
    before = (out / "preview" / "photos" / f"{NAMES[1]}.png").read_bytes()
    (out / "photos" / f"{NAMES[1]}.npy").unlink()
    assert bulk("extract", "dino", "--preview") == 0
    assert (out / "preview" / "photos" / f"{NAMES[1]}.png").read_bytes() == before
    with np.load(out / "preview" / "basis.npz") as basis:
        np.testing.assert_array_equal(basis["mean"], kept["mean"])


def test_principal_components_are_previewed_as_they_are(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient
) -> None:
    assert bulk("extract", "dino", "--preview", "--ret-pca", "--tensor-format", "CHW") == 0
    expected = client.dino_features(pictures / NAMES[0], ret_pca=True)
    with Image.open(out / "preview" / "photos" / f"{NAMES[0]}.png") as shown:
        again = pca_picture(expected.array, geometry=expected.geometry)
        assert shown.size == again.size == sizes(pictures)[NAMES[0]]
        assert np.abs(np.asarray(shown, float) - np.asarray(again, float)).mean() < 5


def test_half_precision_as_npz_with_its_facts(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient
) -> None:
    assert bulk("extract", "clip", *SMALL, "--dtype", "float16", "--format", "npz") == 0
    expected = client.clip_features(pictures / NAMES[0], load_size=64, dtype="float16")
    with np.load(out / "photos" / f"{NAMES[0]}.npz") as file:
        close(file["features"], expected.raw)
        facts = json.loads(str(file["facts"]))
    assert facts["model"] == expected.model
    assert facts["geometry"]["grid_width"] == expected.geometry.grid_width
    assert facts["image_digest"] == expected.image_digest


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_small_types_in_one_safetensors_file(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient, dtype: Any
) -> None:
    words = ("extract", "clip", *SMALL, "--dtype", dtype, "--format", "safetensors", "--per-file", "2")
    assert bulk(*words) == 0
    path, key = out / "shard-000000.safetensors", f"photos/{NAMES[0]}"
    assert stored_as(path, f"{key}/features") == {"int8": "I8", "bfloat16": "BF16"}[dtype]
    found = read_safetensors(path)[key]
    expected = client.clip_features(pictures / NAMES[0], load_size=64, dtype=dtype)
    # bfloat16 has a mark behind its name; the order of a file is its own.
    (features,) = (array for name, array in found.arrays.items() if name.startswith("features"))
    close(as_float32(features, found.arrays.get("scale")), expected.array)  # type: ignore[arg-type]
    assert found.model == expected.model


def test_a_safetensors_file_of_one_picture_names_its_arrays_only(bulk: Any, out: Path) -> None:
    assert bulk("extract", "clip", *SMALL, "--dtype", "int8", "--format", "safetensors") == 0
    path = out / "photos" / f"{NAMES[0]}.safetensors"
    assert stored_as(path, "features") == "I8"
    assert stored_as(path, "scale") == "F32"


def stored_as(path: Path, name: str) -> str:
    with safe_open(path, "numpy") as file:
        dtype: str = file.get_slice(name).get_dtype()
        return dtype


def test_int8_as_npy_is_refused_because_its_factors_would_be_lost(
    bulk: Any, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk("extract", "clip", "--dtype", "int8") == 2
    assert "--format npz" in capsys.readouterr().err
    assert not out.exists()


def test_similarity_as_zarr(bulk: Any, pictures: Path, out: Path, client: FeatsvcClient) -> None:
    assert (
        bulk("similarity", *SMALL, "--format", "zarr", "--preview", "--text", "a red circle", "--text", "sky")
        == 0
    )
    expected = client.similarity(pictures / NAMES[1], ["a red circle", "sky"], load_size=64)
    group = zarr.open_group(out / "results.zarr", mode="r")
    found = group[f"photos/{NAMES[1]}"]
    close(found["similarity"][:], expected.array)
    assert found.attrs["model"] == expected.model
    assert sorted(group["photos"].keys()) == ["a.png", "sub"]
    width, height = sizes(pictures)[NAMES[1]]
    with Image.open(out / "preview" / "photos" / f"{NAMES[1]}.png") as sheet:
        # A map of the picture's size for each text, words above, a scale below.
        assert sheet.width == 2 * width
        assert sheet.height > height
        line = (sheet.height - height) // 2
        pixels = np.asarray(sheet.convert("L"))
    for left in (0, width):
        assert pixels[:line, left : left + width].min() < 128, "no words"
    with np.load(out / "preview" / "basis.npz") as basis:
        low, high = basis["span"]
    for number, each in enumerate(expected.array):
        shown = heat_picture(each, geometry=expected.geometry, span=(low, high))
        found_map = pixels[line : line + height, number * width : (number + 1) * width]
        assert np.abs(found_map - np.asarray(shown, float)).mean() < 5
    scale = pixels[-line // 2]
    assert scale.min() < 30
    assert len(np.unique(scale)) > 50


def test_embeddings_of_many_pictures_in_one_file(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient
) -> None:
    assert bulk("embed", "--format", "npz", "--per-file", "1000") == 0
    with np.load(out / "shard-000000.npz") as file:
        for name in NAMES:
            close(file[f"photos/{name}/embedding"], client.encode_image(pictures / name).array[0])


def test_masks_as_coco(bulk: Any, pictures: Path, out: Path, client: FeatsvcClient) -> None:
    assert bulk("masks", "auto", *FEW, "--preview") == 0
    coco = COCO(out / "annotations.json")
    assert {each["file_name"] for each in coco.imgs.values()} == {f"photos/{name}" for name in NAMES}
    for number, image in coco.imgs.items():
        path = pictures.parent / image["file_name"]
        expected = client.generate_masks(path, points_per_side=4)
        assert (image["height"], image["width"]) == (expected.summary.height, expected.summary.width)
        found = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert len(found) == len(expected) > 0
        for annotation, mask in zip(found, expected, strict=True):
            same(coco.annToMask(annotation), mask)
            assert annotation["area"] == pytest.approx(mask.area, abs=8)
            assert annotation["bbox"] == toBbox(coco.annToRLE(annotation)).tolist()
        with Image.open(out / "preview" / f"{image['file_name']}.png") as shown, Image.open(path) as picture:
            assert shown.size == picture.size


def test_masks_as_arrays(bulk: Any, pictures: Path, out: Path, client: FeatsvcClient) -> None:
    assert bulk("masks", "auto", *FEW, "--format", "npz") == 0
    expected = client.generate_masks(pictures / NAMES[0], points_per_side=4)
    with np.load(out / "photos" / f"{NAMES[0]}.npz") as file:
        assert file["labels"].shape == (expected.summary.height, expected.summary.width)
        masks = np.unpackbits(file["masks"], axis=-1, count=expected.summary.width)
        assert len(masks) == len(file["predicted_iou"]) == len(expected)
    for found, mask in zip(masks, expected, strict=True):
        same(found, mask)


def test_coco_takes_masks_in_whatever_form_they_were_asked_for(
    bulk: Any, pictures: Path, out: Path, client: FeatsvcClient
) -> None:
    assert bulk("masks", "auto", *FEW, "--mask-encoding", "bits") == 0
    coco = COCO(out / "annotations.json")
    expected = client.generate_masks(pictures / NAMES[0], points_per_side=4)
    for annotation, mask in zip(coco.loadAnns(coco.getAnnIds(imgIds=[1])), expected, strict=True):
        same(coco.annToMask(annotation), mask)


def test_a_real_bad_picture_is_passed_by(demo_server: Server, tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"no picture")
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    (folder / "good.png").write_bytes(file.getvalue())
    words = [
        "embed",
        str(folder),
        "--out",
        str(out),
        "--target",
        demo_server.target,
        "--api-key",
        KEY,
        "--quiet",
    ]
    assert cli.main(words) == 1
    assert [path.name for path in out.rglob("*.npy")] == ["good.png.npy"]
