"""The device's memory: what models and pictures take, what comes back, and what happens where there is no more."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import torch

from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Loaded
from featsvc.errors import FeatsvcError, OutOfMemory
from featsvc.v1.schema import EmbedImageParams, GenerateMasksParams
from featsvc.work.item import Item
from featsvc.work.operations import EMBED_IMAGE, GENERATE_MASKS
from tests.engines import models
from tests.gpu.conditions import MIB, Conditions
from tests.gpu.rows import Row
from tests.gpu.stand import Stand

SLACK = 0.05
"""Of what is counted in bytes: torch's allocator gives whole blocks."""
KEPT = 20
ROOM = 6 << 30
"""Of a card, for the masks of large batches."""
LARGE_BATCHES = (64, 1024, 4096)
LEFT_FREE = 300 * MIB
HOLD_THE_REST = f"""
import sys, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(free - {LEFT_FREE}, dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""
ASK_FOR_SOME = """
import torch
from featsvc.errors import is_out_of_memory
from featsvc.pool.worker.failures import is_device_lost
try:
    some = torch.randn(512, 512, device="cuda")
    some @ some
    pictures, filters = (torch.randn(shape, device="cuda") for shape in ((1, 3, 224, 224), (768, 3, 16, 16)))
    torch.nn.functional.conv2d(pictures, filters)
    torch.cuda.synchronize()
    print("fits", True)
except Exception as error:
    seen = is_out_of_memory(error) and not is_device_lost(error)
    print(type(error).__name__, getattr(error, "error_code", ""), " ".join(str(error).split())[:200], seen)
"""


def memory(conditions: Conditions) -> Iterator[Row]:
    """A row for each model and for the embeddings of pictures."""
    stand = Stand.of(conditions)
    yield Row("before", figures=stand.memory())
    with stand.at_work():
        engines = stand.engines()
        yield Row("engines", figures=stand.memory())
        for key in stand.models.values():
            yield _model(stand, engines, key)
        yield _embeddings(stand, engines)


def _model(stand: Stand, engines: Engines, key: str) -> Row:
    before = stand.allocated()
    loaded = engines.load(key)
    taken, told, figures = stand.allocated() - before, loaded.nbytes, stand.memory()
    del loaded
    gc.collect()
    left = stand.allocated() - before
    as_told = abs(taken - told) <= SLACK * told + stand.slack
    return Row(
        key, as_told and left <= stand.slack, {"told_mib": told / MIB, "left_mib": left / MIB, **figures}
    )


def _embeddings(stand: Stand, engines: Engines) -> Row:
    loaded, before, params = engines.load(stand.models["sam2"]), stand.allocated(), EmbedImageParams()
    for seed in range(2 if stand.dry else KEPT):
        models.answer(engines, EMBED_IMAGE.rpc, stand.item(96, 72, seed), params, loaded)
    told = sum(each.nbytes for each in engines.caches())
    taken = stand.allocated() - before
    holds = told > 0 and abs(taken - told) <= SLACK * told + stand.slack
    return Row("embeddings", holds, {"told_mib": told / MIB, "taken_mib": taken / MIB, **stand.memory()})


def oom(conditions: Conditions) -> Iterator[Row]:
    """What lacks memory is refused as that, and leaves the engines as they were."""
    stand = Stand.of(conditions)
    with stand.at_work():
        engines = stand.engines()
        loaded = engines.load(stand.models["sam2"])
        yield _masks(stand, engines, loaded, "before", 64)
        held = _held(stand, engines)
        with stand.limited(MIB // 4 if stand.dry else ROOM):
            for count in (64,) if stand.dry else LARGE_BATCHES:
                yield _masks(
                    stand, engines, loaded, f"little memory, {count} points a batch", count, may_lack=True
                )
            left = _held(stand, engines) - held
        yield Row("given back", left <= stand.slack, {"left_mib": left / MIB})
        yield _masks(stand, engines, loaded, "afterwards", 64)
    if not stand.dry:
        yield _full_card()


def _held(stand: Stand, engines: Engines) -> int:
    """Bytes that are allocated beside what the caches hold, which give way as they like."""
    gc.collect()
    return stand.allocated() - sum(each.nbytes for each in engines.caches() if each.name == "sam2_embeddings")


def _masks(
    stand: Stand, engines: Engines, loaded: Loaded, what: str, points: int, may_lack: bool = False
) -> Row:
    side = 4 if stand.dry else 32
    params = GenerateMasksParams(points_per_side=side, pred_iou_thresh=0.9, points_per_batch=points)
    size: Item = stand.item(*((96, 72) if stand.dry else (640, 480)))
    try:
        models.answer(engines, GENERATE_MASKS.rpc, size, params, loaded)
    except OutOfMemory as error:
        return Row(what, may_lack, {"said": str(error), **stand.memory()})
    except (FeatsvcError, RuntimeError) as error:
        return Row(what, False, {"said": repr(error), **stand.memory()})
    return Row(what, True, {"said": "answered", **stand.memory()})


def _full_card() -> Row:
    """What torch says where other processes have the memory, and whether that counts as a lack of it."""
    torch.cuda.empty_cache()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_REST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        held = other.stdout.readline().strip()
        asked = subprocess.run(
            [sys.executable, "-c", ASK_FOR_SOME], capture_output=True, text=True, check=False, timeout=30
        )
        other.communicate()
    said = asked.stdout.strip()
    return Row("a full card", held == "held" and said.endswith("True"), {"said": said or asked.stderr})
