"""A worker touches no device but its own, whichever torch takes for the current one."""

from __future__ import annotations

import pytest

from featsvc.catalog import catalog
from featsvc.catalog.entry import Sam2Entry
from featsvc.engines.sam2 import model as sam2_model
from tests.engines import models
from tests.engines.pretended.cases import CASES, FAMILIES, answers
from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.worker import DEVICE

SOME = {"clip": "clip grid", "dino": "dino grid", "sam2": "sam2 click"}


@pytest.mark.parametrize(("device", "own"), [(DEVICE, {DEVICE}), ("cpu", set())])
@pytest.mark.parametrize("family", FAMILIES)
def test_loading_a_model_and_asking_it_touches_no_other_device(
    device: str, own: set[str], family: str
) -> None:
    cuda = PretendCuda()
    with cuda.installed(), cuda.at_work():
        engines = models.engines(device=device)
        answers(engines, CASES[SOME[family]], engines.load(f"demo-{family}"))
    assert set(cuda.touched) == own, cuda.touched


def test_sam2_with_its_memory_of_videos_is_built_without_a_device() -> None:
    entry = catalog()["sam2.1_hiera_tiny"]
    assert isinstance(entry, Sam2Entry)
    cuda = PretendCuda()
    with cuda.installed(), cuda.at_work():
        sam2_model.built(entry)
    assert not cuda.touched
