"""Drawn pictures through REST: the answers mean what they should."""

from __future__ import annotations

import base64

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from featsvc.demo.scenes import HELD_OUT_SEED, Scene, SceneOptions, draw
from tests.pictures import base64_png
from tests.servers import KEY, Server

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Held-out pictures of three to five objects, each object large enough to click on."""
    return [
        draw(HELD_OUT_SEED + 500_000 + number, SceneOptions(min_objects=3, max_objects=5))
        for number in range(8)
    ]


def asked(server: Server, family: str, endpoint: str, scene: Scene, **body: object) -> dict[str, object]:
    reply = httpx.post(
        f"{server.url(family)}/{endpoint}",
        json={"image": base64_png(scene.image), **body},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=120,
    )
    assert reply.status_code == 200, reply.text[:500]
    return reply.json()


def array(text: object, shape: object) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(str(text)), "<f4").reshape(shape)


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def middle(mask: NDArray[np.bool_]) -> list[float]:
    """The pixel of the mask that lies deepest inside it."""
    import cv2

    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return [float(x), float(y)]


def test_a_click_on_a_shape_returns_that_shape(demo_server: Server, scenes: list[Scene]) -> None:
    overlaps = []
    for scene in scenes:
        for mask in scene.masks[:2]:
            reply = asked(
                demo_server, "sam2", "prompt_mask", scene, point_coords=[middle(mask)], point_labels=[1]
            )
            masks = array(reply["masks"], reply["masks_shape"]) > 0
            assert masks.shape == (3, *mask.shape)
            overlaps.append(max(overlap(each, mask) for each in masks))
    assert np.mean(overlaps) > 0.75, overlaps


def test_a_box_around_a_shape_returns_that_shape(demo_server: Server, scenes: list[Scene]) -> None:
    overlaps = []
    for scene in scenes:
        mask = scene.masks[0]
        rows, columns = np.nonzero(mask)
        box = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
        reply = asked(demo_server, "sam2", "prompt_mask", scene, box=box, multimask_output=False)
        masks = array(reply["masks"], reply["masks_shape"]) > 0
        assert masks.shape == (1, *mask.shape)
        overlaps.append(overlap(masks[0], mask))
    assert np.mean(overlaps) > 0.75, overlaps


def test_a_text_lights_up_what_it_names(demo_server: Server, scenes: list[Scene]) -> None:
    right = total = 0
    for scene in scenes:
        for index, thing in enumerate(scene.objects[:2]):
            text = thing.text
            if [each.text for each in scene.objects].count(text) > 1:
                continue
            reply = asked(
                demo_server,
                "clip",
                "similarity",
                scene,
                text=text,
                load_size=256,
                ret_patches=False,
                softmax=0,
            )
            brightest = array(reply["similarity_map"], reply["shape"])
            assert brightest.shape == scene.image.shape[:2]
            y, x = np.unravel_index(int(brightest.argmax()), brightest.shape)
            right += bool(scene.masks[index][y, x])
            total += 1
    assert total >= 10
    assert right / total > 0.75, f"{right} of {total}"


@pytest.mark.parametrize("preset", ["coarse", "fine_grained"])
def test_automatic_masks_find_the_shapes(demo_server: Server, scenes: list[Scene], preset: str) -> None:
    found = total = 0
    # The fine preset asks 4,096 points of the picture and again of its crops: a smaller grid shows the same.
    smaller = {"points_per_side": 16} if preset == "fine_grained" else {}
    for scene in scenes[:4]:
        reply = asked(demo_server, "sam2", "auto_mask", scene, preset=preset, **smaller)
        masks = [array(each["segmentation"], each["segmentation_shape"]) > 0 for each in reply["masks"]]
        assert len(masks) == reply["num_masks"]
        for mask in scene.masks:
            total += 1
            found += any(overlap(each, mask) > 0.7 for each in masks)
    assert found / total > 0.6, f"{found} of {total}"


def test_patches_of_one_object_are_more_alike_than_those_of_others(
    demo_server: Server, scenes: list[Scene]
) -> None:
    same, different = [], []
    for scene in scenes:
        reply = asked(demo_server, "dino", "extract", scene, load_size=224)
        features = array(reply["features"], reply["shape"])
        features = features / np.linalg.norm(features, axis=-1, keepdims=True)
        height, width = scene.image.shape[:2]
        rows, columns, _ = features.shape
        centres = [
            features[int(y * rows / height), int(x * columns / width)] for x, y in map(middle, scene.masks)
        ]
        for index, (mask, centre) in enumerate(zip(scene.masks, centres, strict=True)):
            ys, xs = np.nonzero(mask)
            inside = features[ys * rows // height, xs * columns // width] @ centre
            same.append(inside.mean())
            different += [float(centre @ other) for other in centres[index + 1 :]]
    assert np.mean(same) > np.mean(different) + 0.2
