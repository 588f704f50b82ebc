"""How often the CPU waits for a GPU, which meanwhile stands still.

`PretendCuda` says what counts. The figures are those of today, of pictures whose embeddings and texts that are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from featsvc.engines import registry
from featsvc.settings.kinds import Precision
from featsvc.v1 import schema as S
from featsvc.work.results import MaskList
from tests.engines.pretended.cases import CASES, asked
from tests.engines.pretended.conftest import Workers
from tests.engines.pretended.worker import DEVICE, PretendedWorker


class Traffic(NamedTuple):
    """Waits for the device, and copies to it. Copies home that are waited for beside it do not count."""

    waits: int
    uploads: int


FIT = 2
"""Copies there: what either side of a picture becomes smaller by."""
DENSE = Traffic(1, 1 + FIT)
"""The picture there, its answer back."""
AS_IT_IS = Traffic(1, 1)
"""The same of one that has its size."""
CLICK = Traffic(1, 2)
"""Coordinates and labels there."""
CROP = 2
"""Waits of automatic masks: one for what is predicted of them, one to know where they are and how stable."""
PIXELS = 1
"""At the end, for those that are left of all crops."""
PASS, CHOICE = 1, 2
"""Copies there: the coordinates of a pass; which masks of a crop are good, and which of those are stable."""
PROMPTS = 1
"""Waits of the masks of all prompts about objects."""
TABLES = 6
"""Copies there: between which cells of another grid those of a grid lie."""
PLACES = 11
"""Copies there: between which tiles of which levels places lie."""
CROPS = 5
MANY = {"points_per_side": 4, "points_per_batch": 1, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}
"""Points of 16 passes, as those of the default grid are, and thresholds that the demo model's masks pass."""
TRAFFIC: Mapping[str, Traffic] = {
    "clip grid": DENSE,
    "clip several": Traffic(2, 3 + 3 * FIT),  # two pictures share a pass
    "clip float16 channels first": DENSE,
    "clip int8 channels first": DENSE,
    "clip pixels bicubic": DENSE,
    # The CPU decomposes a small matrix that the device makes, and makes colours of what that says.
    "clip components": Traffic(2, 3 + FIT),
    "clip components of pixels": Traffic(2, 7 + FIT),
    # Two decompositions, and how many cells are of the foreground.
    "clip components of the foreground": Traffic(7, 5 + FIT),
    "clip points": Traffic(1, 4 + FIT),
    "clip region": DENSE,
    "clip picture": DENSE,
    "clip texts": Traffic(0, 0),
    "clip one text pixels": Traffic(1, 2 + FIT),
    "clip texts against others patches": Traffic(1, 2 + FIT),
    "clip texts against others pixels": Traffic(1, 4 + FIT),
    "clip recipe naclip": DENSE,
    # Three pictures, two of which share a pass. DINO's features come to CLIP's grid by tables of each size.
    "clip recipe proxyclip": Traffic(2, 3 + 3 * FIT + 2 * TABLES),
    "clip windows of proxyclip": Traffic(2, 3 + 3 * FIT + 2 * TABLES),
    "clip windows": Traffic(2, 3 + 3 * FIT),
    "clip tiles": Traffic(1, 0),  # they are kept
    "clip tiles at points": Traffic(1, PLACES),
    "clip tiles on a grid int8": Traffic(1, PLACES),
    "dino grid": DENSE,
    "dino bfloat16 channels first": DENSE,
    "dino log bins": AS_IT_IS,
    "dino key of a layer": AS_IT_IS,
    "sam2 embedding": Traffic(0, 0),
    "sam2 embedding itself": Traffic(1, 0),
    "sam2 embedding itself bfloat16": Traffic(1, 0),
    "sam2 no prompt": Traffic(1, 0),
    "sam2 click": CLICK,
    "sam2 prompts": Traffic(1, 7),  # what is alike goes together
    # The CPU tells regions: the mask comes home, and what is to be changed goes there.
    "sam2 holes and islands": Traffic(2, 3),
    "sam2 click coco_rle": CLICK,
    "sam2 click label_map": CLICK,
    "sam2 masks": Traffic(CROP + PIXELS, PASS + CHOICE),
    "sam2 masks in batches": Traffic(CROP + PIXELS, 2 * PASS + CHOICE),
    "sam2 masks one a point": Traffic(CROP + PIXELS, PASS + CHOICE),
    "sam2 masks refined": Traffic(CROP + PIXELS, 2 * PASS + CHOICE),
    # The CPU tells regions: masks come with what is predicted of them, and what is to be changed goes there.
    "sam2 masks without islands": Traffic(CROP + PIXELS, PASS + CHOICE + 1),
    # In the smaller crops none is stable.
    "sam2 masks in crops": Traffic(CROPS * CROP + PIXELS, CROPS * (PASS + 1) + 1),
    # Refined, and without holes and islands.
    "sam2 masks of a preset": Traffic(CROP + PIXELS, 2 * PASS + CHOICE + 1),
    "sam2 masks that are none": Traffic(2, PASS + 1),
    # Masks come home, and vectors of both ways together; the picture of each goes there, and how its cells count.
    "object mean of maps": Traffic(PROMPTS + 1, 2 + 2 * (1 + FIT + 1)),
    "object max of maps": Traffic(PROMPTS + 1, 2 + 2 * (1 + FIT + 1)),
    "object masks with vectors": Traffic(CROP + PIXELS + 1, PASS + CHOICE + 2 * (1 + FIT + 1)),
    "object lists of masks": Traffic(CROP + PIXELS + 1, PASS + CHOICE + 2 * (1 + FIT + 1)),
    # Four crops and the picture, which of the crops are alike, and which of the objects have some.
    "object crops of prompts": Traffic(PROMPTS + 1, 2 + 2 * (5 + 2)),
    # Texts go there beside all that; peaks come home, and scores.
    "object found": Traffic(CROP + PIXELS + 1, 1 + PASS + CHOICE + 1 + FIT + 1),
    "object found by peaks": Traffic(1 + PROMPTS + 1, 1 + 2 + 1 + FIT + 1),
}


def traffic(worker: PretendedWorker) -> Traffic:
    """Of the last question."""
    return Traffic(worker.cuda.waits.total(), worker.cuda.uploads.total())


@pytest.mark.parametrize("name", TRAFFIC)
def test_a_question_waits_for_the_device_no_more_than_it_has_to(worker: PretendedWorker, name: str) -> None:
    for _ in range(2):
        worker.answers(CASES[name])
    assert traffic(worker) == TRAFFIC[name], (worker.cuda.waits, worker.cuda.uploads)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["clip grid", "dino grid", "sam2 click", "sam2 masks"])
def test_smaller_types_wait_no_more(workers: Workers, name: str, precision: Precision) -> None:
    worker = workers(precision)
    for _ in range(2):
        worker.answers(CASES[name])
    assert traffic(worker) == TRAFFIC[name]


def test_a_picture_is_encoded_once_and_waited_for_so_that_its_time_and_its_errors_are_its_own(
    worker: PretendedWorker,
) -> None:
    for expected in (Traffic(1, 1), Traffic(0, 0)):
        worker.answers(asked(S.EmbedImageParams(), digest="sha256:new"))
        assert traffic(worker) == expected


@pytest.mark.parametrize("pooling", S.Pooling)
def test_masks_of_prompts_are_waited_for_once_and_pooled_without_a_wait_however_many_they_are(
    worker: PretendedWorker, pooling: S.Pooling
) -> None:
    prompts = tuple(S.Prompt(point_coords=((each, 30.0),), point_labels=(1,)) for each in (10.0, 40.0, 70.0))
    clip = S.ClipView(params=S.ClipParams(load_size=48))
    way = S.ObjectDescriptor(clip=clip, pooled=S.PooledDescriptor(pooling=pooling))
    case = asked(S.DescribeObjectsParams(describe=(way,)), source=S.ObjectSource(prompts=prompts))
    worker.answers(case, worker.loaded["find"])
    assert traffic(worker).waits == PROMPTS + 1, worker.cuda.waits


def test_new_texts_are_waited_for_once_for_each_length(worker: PretendedWorker) -> None:
    texts = S.Texts(text=("a red ring", "a dog", "a red circle and a star " * 4))
    for expected in (Traffic(2, 2), Traffic(0, 0)):
        worker.answers(asked(S.EncodeTextParams(), texts=texts))
        assert traffic(worker) == expected


@pytest.mark.parametrize(
    ("options", "crops"),
    [
        pytest.param({}, 1, id="as it comes"),
        pytest.param({"min_mask_region_area": 20}, 1, id="without islands"),
        pytest.param({"pred_iou_thresh": 0.0}, 1, id="whatever is predicted"),
        pytest.param({"use_m2m": True, "points_per_batch": 3}, 1, id="refined"),
        pytest.param({"crop_n_layers": 1, "points_per_batch": 3}, CROPS, id="crops"),
        pytest.param(
            {"points_per_side": 32, "points_per_batch": 64}, 1, id="default grid", marks=pytest.mark.slow
        ),
    ],
)
def test_a_crop_is_waited_for_twice_however_many_passes_its_points_take(
    worker: PretendedWorker, options: Mapping[str, Any], crops: int
) -> None:
    params = S.GenerateMasksParams(**{**MANY, **options})
    (result,) = worker.answers(asked(params))
    assert isinstance(result, MaskList)
    assert len(result.masks) > 1
    assert traffic(worker).waits <= crops * CROP + PIXELS


def test_a_long_pass_is_waited_for_at_its_stops_on_its_own_device(
    worker: PretendedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "LONG_FLOP", 0)
    worker.answers(CASES["dino grid"])
    waits = sum(count for (what, _), count in worker.cuda.waits.items() if what == "stream")
    assert waits == len(list(worker.loaded["dino"].stops)) + 1
    assert set(worker.cuda.touched) == {DEVICE}
