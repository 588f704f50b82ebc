"""The adapters in clients/python/examples: their files have what the projects read of them."""

from __future__ import annotations

import ast
import gzip
import json
import pickle
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featsvc_client import FeatsvcClient
from PIL import Image

from tests.conformance.pictures import scene
from tests.servers import KEY, ROOT, Server

EXAMPLES = ROOT / "clients" / "python" / "examples"
LINES = 30
FEW = {"points_per_side": 4, "crop_n_layers": 0}
CIRCLE, SQUARE = (slice(28, 37), slice(20, 29)), (slice(28, 37), slice(66, 75))


@pytest.fixture(scope="module")
def client(demo_server: Server) -> Iterator[FeatsvcClient]:
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as connected:
        yield connected


def pictures(folder: Path) -> Path:
    """The picture twice, the second time with its colours changed, beside what scenes have there too."""
    folder.mkdir()
    scene().save(folder / "0.jpg", quality=95)
    Image.fromarray(255 - np.asarray(scene())).save(folder / "1.jpg", quality=95)
    scene().convert("I;16").save(folder / "depth0.png")
    (folder / "notes.txt").write_text("taken by hand")
    return folder


def write(name: str, client: FeatsvcClient, folder: Path, **options: Any) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["write"](client, folder, **options)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_adapter_is_short(path: Path) -> None:
    statements = ast.parse(path.read_text()).body[1:]
    assert sum(each.end_lineno - each.lineno + 1 for each in statements) < LINES  # type: ignore[operator]


@pytest.mark.parametrize("name", ["langsplat", "conceptgraphs", "openmask3d"])
def test_a_folder_without_such_pictures_is_told(client: FeatsvcClient, tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit, match=r"no \*\.jpg in "):
        write(name, client, tmp_path)


def test_langsplat_finds_the_row_of_each_pixel(client: FeatsvcClient, tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    write("langsplat", client, tmp_path, **FEW)
    for name in ("0", "1"):
        features = np.load(tmp_path / "language_features" / f"{name}_f.npy")
        rows = np.load(tmp_path / "language_features" / f"{name}_s.npy")
        assert (features.dtype, rows.dtype, rows.shape) == (np.float32, np.float32, (4, 64, 96))
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
        assert (rows.min(), rows.max()) == (-1, len(features) - 1)
        found = client.describe_objects(tmp_path / "images" / f"{name}.jpg", recipe="langsplat", **FEW)
        lists = [each.granularity for each in found]
        assert set(lists) >= {"all", "whole"}
        for own, granularity in zip(rows, ("all", "subpart", "part", "whole"), strict=True):
            masks = {row: found[row].segmentation for row, each in enumerate(lists) if each == granularity}
            np.testing.assert_array_equal(own >= 0, np.any([*masks.values(), np.zeros_like(own)], axis=0))
            for row in np.unique(own[own >= 0]):
                assert masks[int(row)][own == row].all()


def test_conceptgraphs_finds_detections(client: FeatsvcClient, tmp_path: Path) -> None:
    write("conceptgraphs", client, pictures(tmp_path / "results"), **FEW)
    with gzip.open(tmp_path / "gsa_detections_none" / "0.pkl.gz") as file:
        found = pickle.load(file)
    assert sorted(each.name for each in (tmp_path / "gsa_detections_none").iterdir()) == [
        "0.pkl.gz",
        "1.pkl.gz",
    ]
    count = len(found["xyxy"])
    assert count >= 2
    shapes = {name: each.shape for name, each in found.items() if isinstance(each, np.ndarray)}
    assert shapes == {
        "xyxy": (count, 4),
        "confidence": (count,),
        "class_id": (count,),
        "mask": (count, 64, 96),
        "image_feats": (count, 128),
        "text_feats": (count, 128),
    }
    assert found["mask"].dtype == bool
    assert [found["classes"][each] for each in found["class_id"]] == ["item"] * count
    for (x0, y0, x1, y1), mask, crop in zip(found["xyxy"], found["mask"], found["image_crops"], strict=True):
        rows, columns = np.nonzero(mask)
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max(), rows.max())
        assert crop.size == (min(x1 + 20, 96) - max(x0 - 20, 0), min(y1 + 20, 64) - max(y0 - 20, 0))


def test_openmask3d_finds_a_row_for_each_mask(client: FeatsvcClient, tmp_path: Path) -> None:
    pictures(tmp_path / "color")
    (tmp_path / "masks").mkdir()
    for name, numbers in (("0", (1, 3)), ("1", (1, 0))):
        labels = np.zeros((64, 96), np.uint8)
        labels[CIRCLE], labels[SQUARE] = numbers
        Image.fromarray(labels).save(tmp_path / "masks" / f"{name}.png")
    write("openmask3d", client, tmp_path)
    features = np.load(tmp_path / "scene_openmask3d_features.npy")
    assert (features.dtype, features.shape) == (np.float64, (3, 128))
    lengths = np.linalg.norm(features, axis=1)
    # The first is a mean over two pictures, the second is not seen.
    assert 0 < lengths[0] < 1
    assert lengths[1] == 0
    assert lengths[2] == pytest.approx(1)


def test_lerf_finds_its_levels_and_what_tells_it_that_they_fit(client: FeatsvcClient, tmp_path: Path) -> None:
    paths = sorted(pictures(tmp_path / "images").glob("*.jpg"))
    cache = tmp_path / "clip_openclip_ViT-B-16_laion2b_s34b_b88k"
    model = {"model_name": "demo-clip", "model_pretrained": "demo"}
    demo: dict[str, Any] = {**model, "tile_ratio_min": 0.5, "tile_ratio_max": 1.0, "tile_levels": 2}
    write("lerf", client, cache, pictures=paths, **demo)
    common = {"image_shape": [64, 96], "model_name": "openclip_ViT-B-16_laion2b_s34b_b88k"}
    wanted = {"tile_size_range": [0.05, 0.5], "tile_size_res": 7, "stride_scaler": 0.5, **common}
    assert json.loads(cache.with_suffix(".info").read_text()) == wanted
    found = [client.embed_pyramid(path, **demo) for path in paths]
    for number, ratio in enumerate((0.5, 1.0)):
        level = np.load(cache / f"level_{number}.npy")
        rows, columns, channels = found[0].grids[number].shape
        assert (level.dtype, level.shape) == (np.float16, (2, rows + 1, columns + 1, channels))
        for own, each in zip(level, found, strict=True):
            np.testing.assert_array_equal(own[:-1, :-1], each.grids[number].astype(np.float16))
            np.testing.assert_array_equal(own[-1], own[-2])
            np.testing.assert_array_equal(own[:, -1], own[:, -2])
        info = json.loads((cache / f"level_{number}.info").read_text())
        assert info == {"tile_ratio": ratio, "stride_ratio": 0.5, **common}
