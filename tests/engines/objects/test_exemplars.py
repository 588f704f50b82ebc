"""Objects of drawn pictures, by their true masks, that are found again in others, which no training has seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Scene, SceneOptions, draw
from featsvc.engines.registry import Engines
from featsvc.v1 import schema as S
from featsvc.work.item import FindItem, ObjectItem
from featsvc.work.operations import DESCRIBE_OBJECTS, FIND_OBJECTS
from featsvc.work.results import ObjectList, ObjectsFound
from tests.engines import models

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FIRST = HELD_OUT_SEED + 30_000
"""Of the scenes. The ways were chosen on those from 4000 to 29,020."""
SCENES = 20
CROP: Any = {"squaring": "pad", "margin": 0.2, "levels": 4, "level_margin": 0.15, "masked_weight": 0.7}
WAYS: list[Any] = [
    *({"clip": {}, "crop": {"background": each, **CROP}} for each in ("grey", "black")),
    *({"clip": {"params": {"load_size": each}}, "pooled": {}} for each in (256, 320)),
]
MANY: Any = {"points_per_side": 16, "pred_iou_thresh": 0.7, "stability_score_thresh": 0.85}


def described(engines: Engines, scene: Scene) -> NDArray[np.float32]:
    """The vectors of a scene's objects, side by side."""
    masks = {"dtype": "bool", "shape": scene.masks.shape, "data": scene.masks.tobytes()}
    item = ObjectItem(
        models.encoded(Image.fromarray(scene.image)), source=S.ObjectSource.model_validate({"bitmaps": masks})
    )
    params = S.DescribeObjectsParams.model_validate({"describe": WAYS})
    clip = engines.together([engines.load("demo-clip")] * len(WAYS))
    result = models.answer(engines, DESCRIBE_OBJECTS.rpc, item, params, clip)
    assert isinstance(result, ObjectList)
    return np.concatenate([each.vectors for each in result.descriptors], axis=1)


def found(engines: Engines, scene: Scene, vectors: NDArray[np.float32]) -> ObjectsFound:
    """The best object of a scene for each vector."""
    settle: Any = FIND_OBJECTS.settled
    options = {**MANY, "describe": WAYS, "min_score": -1, "max_matches": 1}
    params = settle(S.FindObjectsParams.model_validate(options))
    query = {"vectors": {"dtype": "float32", "shape": vectors.shape, "data": vectors.tobytes()}}
    item = FindItem(models.encoded(Image.fromarray(scene.image)), query=S.ObjectQuery.model_validate(query))
    loaded = engines.together([engines.load("demo-sam2"), *[engines.load("demo-clip")] * len(WAYS)])
    result = models.answer(engines, FIND_OBJECTS.rpc, item, params, loaded)
    assert isinstance(result, ObjectsFound)
    return result


def is_of(answer: ObjectsFound, query: int, scene: Scene, own: object) -> bool:
    """Whether the best match is an object of the same colour and shape."""
    mask = models.unpacked(answer.objects[answer.found[query].matches[0].object].mask.segmentation)
    alike = [true for other, true in zip(scene.objects, scene.masks, strict=True) if other == own]
    return any((mask & true).sum() / (mask | true).sum() >= 0.5 for true in alike)


def test_the_best_match_in_other_pictures_is_the_same_thing(engines: Engines) -> None:
    scenes = [draw(FIRST + seed, SceneOptions(min_objects=3, max_objects=4)) for seed in range(SCENES)]
    vectors = np.concatenate([described(engines, scene) for scene in scenes])
    answers = [found(engines, scene, vectors) for scene in scenes]
    exemplars = [(place, own) for place, scene in enumerate(scenes) for own in scene.objects]
    right = []
    for query, (place, own) in enumerate(exemplars):
        others = [each for each in range(SCENES) if each != place]
        if not any(own in scenes[each].objects for each in others):
            continue
        best = max(others, key=lambda each, query=query: answers[each].found[query].matches[0].score)
        right.append(is_of(answers[best], query, scenes[best], own))
    assert len(right) > 30
    assert np.mean(right) >= 0.9
