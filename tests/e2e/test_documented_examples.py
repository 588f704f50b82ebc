"""The examples of the REST document and of the client's page run as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import featsvc_client
import numpy as np
import pytest
from featsvc_client import channel, clip_client, dino_client, rest, sam2_client
from PIL import Image

from featsvc.demo.drawing.scenes import Scene
from tests.client.document import examples
from tests.servers import KEY, ROOT, Server

SLOW = pytest.mark.timeout(1500)
README = Path(featsvc_client.__file__).parents[1] / "README.md"


@pytest.fixture(autouse=True)
def documented_place(
    demo_server: Server, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with image.jpg; the documented ports and key are those of the tests' server."""
    Image.fromarray(scene.image).save(tmp_path / "image.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    for module, family in ((clip_client, "clip"), (dino_client, "dino"), (sam2_client, "sam2")):
        monkeypatch.setattr(module, "BASE_URL", demo_server.url(family))
    monkeypatch.setattr(channel, "DEFAULT_KEY", KEY)


def test_the_clip_example_runs_as_printed() -> None:
    names = run(examples()["clip"])
    assert names["features_np"].shape[2] == 3
    assert names["text_np"].ndim == 1
    assert names["sim_np"].ndim == 2
    features = clip_client.extract_clip_features_decoded("image.jpg", load_size=64)
    assert (features @ names["text_np"]).shape == features.shape[:2]


def test_the_dino_example_runs_as_printed_but_for_its_model() -> None:
    # Its weights are not in the repository, and the server rightly refuses to answer with another model.
    names = run(examples()["dino"].replace('"dinov2_vitl14"', '"demo-dino"'))
    assert names["features_np"].shape[2] == 3


# Thousands of points, crops and refinements are work for a GPU: as printed, the example takes minutes here.
@pytest.mark.parametrize("preset", ["coarse", pytest.param("fine_grained", marks=[pytest.mark.slow, SLOW])])
def test_the_sam2_example_runs_as_printed(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    # On a processor its automatic masks take minutes.
    monkeypatch.setattr(rest, "TIMEOUT_S", 1400.0)
    # Its points are those of sam2's own photograph.
    Image.fromarray(scene.image).resize((1800, 1200)).save("image.jpg", quality=95)
    names = run(examples()["sam2"].replace("fine_grained", preset))
    assert re.match(r"Generated \d+ masks", capsys.readouterr().out)
    assert names["masks_np"].shape == (3, 1200, 1800)
    assert {entry["segmentation"].dtype for entry in names["auto_masks_list"]} == {np.dtype(bool)}


def test_the_examples_of_the_clients_page_run_as_printed(demo_server: Server, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        here = block.replace("localhost:50051", demo_server.target).replace('"smfeats"', repr(KEY))
        here = here.replace(
            "AsyncFeatsvcClient()", f"AsyncFeatsvcClient({demo_server.target!r}, api_key={KEY!r})"
        )
        run(here.replace("http://localhost:8096", demo_server.url("clip")))
    assert {path.name for path in tmp_path.glob("*.png")} == {"pca.png", "similarity.png", "masks.png"}
    assert (tmp_path / "image.npy").exists()


def test_the_examples_about_objects_find_what_is_on_the_picture(demo_server: Server, tmp_path: Path) -> None:
    page = ROOT / "docs" / "objects.md"
    (tmp_path / "docs").symlink_to(page.parent)
    names: dict[str, Any] = {}
    finds = []
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        here = block.replace("FeatsvcClient(", f"FeatsvcClient({demo_server.target!r}, api_key={KEY!r}, ")
        exec(compile(here, "example", "exec"), names)
        finds.append([len(each) for each in getattr(names["found"], "found", ())])
    # Of two blocks that describe, one of two texts, and one of an exemplar.
    assert [len(each) for each in finds] == [0, 0, 2, 1]
    assert all(min(each, default=1) for each in finds), "nothing is found"


def run(example: str) -> dict[str, np.ndarray]:
    """Runs the example, and gives its names."""
    names: dict[str, np.ndarray] = {}
    exec(compile(example, "example", "exec"), names)
    return names
