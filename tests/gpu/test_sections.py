"""Sections of the check of a GPU, each shown what is wrong."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from torch.nn.attention import SDPBackend

from featsvc.engines.decoding.card import SAMPLINGS
from featsvc.engines.dino.model import DinoModel
from featsvc.settings.kinds import Precision
from tests.engines.pretended.cases import CASES
from tests.engines.pretended.numbers import Numbers
from tests.gpu import facts, pictures, served, ways
from tests.gpu.answers import compared
from tests.gpu.conditions import MOST_CLICK_MS, Conditions
from tests.gpu.rows import Row
from tests.gpu.speed import are_as_many, compiled, nearest
from tests.gpu.stand import Stand
from tests.servers import Server

LONG_S = 30.0
"""For threads that wait for each other."""
SERVER = cast(Server, SimpleNamespace(target="127.0.0.1:1"))
SEARCH = "sam2 masks"


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    """A pretended GPU."""
    return Stand(tmp_path, dry=True)


def found(count: int, shifted: int = 0) -> Numbers:
    """An answer of so many masks, each of other pixels."""
    masks: Numbers = {}
    for index in range(count):
        masks[f"mask {index}"] = np.zeros((16, 16), bool)
        masks[f"mask {index}"][index, shifted : shifted + 8] = True
    return {"count": np.array([count]), **masks}


@pytest.mark.parametrize(
    ("precision", "here", "there", "holds"),
    [
        ("bf16", found(10), found(11), True),
        ("bf16", found(2), found(3), True),
        ("bf16", found(10), found(7), False),
        ("bf16", found(7), found(10), False),
        ("bf16", found(0), found(1), False),
        ("bf16", found(1), found(0), False),
        ("bf16", found(10), found(11, shifted=4), False),
        ("tf32", found(10), found(11), False),
        ("fp32", found(10), found(11), False),
    ],
)
def test_answers_allow_for_few_masks_that_only_a_rounded_precision_takes(
    precision: Precision, here: Numbers, there: Numbers, holds: bool
) -> None:
    row = compared(precision, {SEARCH: CASES[SEARCH]}, {SEARCH: [here]}, {SEARCH: [there]})
    assert row.holds is holds


def test_answers_tell_of_masks_of_which_one_side_has_others() -> None:
    # Each of theirs is among ours.
    row = compared("bf16", {SEARCH: CASES[SEARCH]}, {SEARCH: [found(4)]}, {SEARCH: [found(5)]})
    assert row.holds
    doubled = found(5)
    doubled["mask 1"] = doubled["mask 2"] = doubled["mask 0"]
    row = compared("bf16", {SEARCH: CASES[SEARCH]}, {SEARCH: [found(4)]}, {SEARCH: [doubled]})
    assert row.holds is False


def test_masks_are_near_where_each_is_found_by_the_other() -> None:
    def mask(row: int) -> object:
        pixels = np.zeros((8, 8), np.uint8, order="F")
        pixels[row] = 1
        return coco.encode(pixels)

    every = [*map(mask, range(4))]
    assert nearest(every, every) == 1
    assert nearest(every[:1], every) == nearest(every, every[:1]) == 0.25


def test_as_many_masks_are_few_more_or_less() -> None:
    assert are_as_many(100, 95, 0.05)
    assert are_as_many(95, 100, 0.05)
    assert not are_as_many(94, 100, 0.05)
    assert not are_as_many(100, 94, 0.05)


def test_facts_count_gpus_in_all_processes_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    together = threading.Barrier(len(facts.MASKS))

    def visible(mask: str | None) -> Row:
        together.wait(LONG_S)
        return Row(repr(mask), True)

    monkeypatch.setattr(facts, "_device", lambda stand: Row("device", True))
    monkeypatch.setattr(facts, "_bus", lambda stand: iter(()))
    monkeypatch.setattr(facts, "visible", visible)
    *_, last = facts.facts(Conditions(tmp_path))
    assert last.what == repr(facts.MASKS[-1])


@pytest.mark.parametrize(
    ("capability", "itself", "tf32"), [((9, 0), "bf16", "tf32"), ((7, 5), "fp32", "fp32")]
)
def test_servers_of_all_precisions_are_verified_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capability: tuple[int, int], itself: str, tf32: str
) -> None:
    together = threading.Barrier(5)

    @contextmanager
    def up(conditions: Conditions, log: str, *flags: str) -> Iterator[Server]:
        together.wait(LONG_S)
        yield SERVER

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(served, "up", up)
    monkeypatch.setattr(
        served, "verified", lambda server, what, precision: Row(what, True, {"is": precision})
    )
    rows = {row.what: row.figures["is"] for row in served.verify(Conditions(tmp_path))}
    assert rows == {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16", "tf32": tf32, "auto": itself}


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client whose questions the test answers, of a server on the GPU that is busy."""

    @contextmanager
    def client(*_: object, **__: object) -> Iterator[Any]:
        yield SimpleNamespace(dino_features=lambda picture: SimpleNamespace(timing=timing))

    @contextmanager
    def busy() -> Iterator[list[int]]:
        yield answers.percents

    timing = SimpleNamespace(precision="bf16")
    answers = SimpleNamespace(percents=[0, 30], device=served.HERE, timing=timing)
    monkeypatch.setattr(served, "FeatsvcClient", client)
    monkeypatch.setattr(served, "busy", busy)
    monkeypatch.setattr(served, "device", lambda server: answers.device)
    monkeypatch.setattr(served, "SECONDS", 0.0)
    monkeypatch.setattr(served, "CALLERS", 1)
    return answers


@pytest.mark.parametrize(
    ("percents", "device", "holds"),
    [
        ([0, 30], served.HERE, True),
        ([], served.HERE, True),  # without nvidia-smi
        ([0, 0], served.HERE, False),
        ([30], {**served.HERE, "device": "cpu", "gpu_id": None, "gpu_count": 0}, False),
    ],
)
def test_loads_tell_of_answers_that_no_gpu_gave(
    answering: Any, tmp_path: Path, percents: list[int], device: dict[str, object], holds: bool
) -> None:
    answering.percents, answering.device = percents, device
    row = served.load(Conditions(tmp_path), SERVER, "some", lambda client, number: None)
    assert row.holds is holds


@pytest.mark.parametrize(
    ("most_ms", "is_anchored", "holds"), [(-1.0, True, False), (1e6, True, True), (-1.0, False, None)]
)
def test_one_caller_has_an_anchor(
    answering: Any, monkeypatch: pytest.MonkeyPatch, most_ms: float, is_anchored: bool, holds: bool | None
) -> None:
    assert MOST_CLICK_MS == 20
    monkeypatch.setattr(served, "MOST_CLICK_MS", most_ms)
    asked: list[int] = []
    row = served.alone(SERVER, lambda client, number: asked.append(number), is_anchored)
    assert row.holds is holds
    assert asked == [*range(served.ALONE + 1)]


@pytest.mark.parametrize(("precision", "holds"), [("bf16", True), ("fp32", False), ("", False)])
def test_verified_is_only_who_says_in_what_precision_it_computed(
    answering: Any, monkeypatch: pytest.MonkeyPatch, precision: str, holds: bool
) -> None:
    answering.timing.precision = precision
    passed = SimpleNamespace(returncode=0, stdout="", stderr="")
    monkeypatch.setattr(served, "subprocess", SimpleNamespace(run=lambda *_, **__: passed))
    assert served.verified(SERVER, "auto", "bf16").holds is holds


@pytest.mark.parametrize("holds", [True, False])
def test_jpegs_tell_of_kinds_that_the_gpu_does_not_decode(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    class Decoder:
        def __init__(self, device: str) -> None:
            pass

        def pixels(self, head: Any) -> Image.Image | None:
            return Image.open(io.BytesIO(head.content)).convert("RGB") if holds else None

    monkeypatch.setattr(pictures, "CardDecoder", Decoder)
    monkeypatch.setattr(pictures, "SIZES", ((64, 48),))
    assert [row.holds for row in pictures.jpegs(stand)] == [holds] * len(SAMPLINGS)


def test_compiled_tells_of_code_that_is_not_compiled(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda step, **_: step)
    (row,) = compiled(stand)
    assert row.holds is False
    assert row.figures["graphs"] == 0


@pytest.mark.parametrize(("kernels", "holds"), [(ways.FUSED, True), ([SDPBackend.CUDNN_ATTENTION], False)])
def test_ways_tell_of_attention_that_no_fused_kernel_takes(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, kernels: list[SDPBackend], holds: bool
) -> None:
    monkeypatch.setattr(ways, "FUSED", kernels)
    with stand.at_work(), torch.inference_mode():
        dino = stand.engines(precision="fp32").load(stand.models["dino"])
        assert isinstance(dino, DinoModel)
        assert ways._attention(stand, dino).holds is holds
