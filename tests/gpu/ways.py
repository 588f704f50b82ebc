"""What each way of giving a GPU its work gains: with it and without it, beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from featsvc.engines.dino.model import DinoModel
from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Loaded, Prepared
from featsvc.engines.sam2.embedding import encoded_together
from featsvc.engines.sam2.model import Sam2Model
from featsvc.v1.schema import DinoExtractFeaturesParams, PredictMasksParams, Prompt
from featsvc.work.item import PromptItem
from featsvc.work.operations import EXTRACT_DINO, PREDICT_MASKS
from tests.bench import networks
from tests.gpu.conditions import DEVICE, MOST_CLICK_MS, Conditions
from tests.gpu.rows import Row
from tests.gpu.speed import dino_pass, pictures_for_dino
from tests.gpu.stand import THREADS, Stand

SIZE, DRY_SIZE = (1024, 768), (96, 64)
ENCODED = (1, 4)
CLICKS = (1, 8, 64)
FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
PASSES = 6
TOGETHER = 32
AS_FAST = 0.95
"""Of the pictures that timm's own network takes in a second."""
PICTURES = 16


def ways(conditions: Conditions) -> Iterator[Row]:
    """The same work in several ways; networks in bfloat16."""
    stand = Stand.of(conditions)
    with stand.at_work():
        engines = stand.engines(precision="fp32" if stand.dry else "bf16")
        dino, sam2 = (engines.load(stand.models[family]) for family in ("dino", "sam2"))
        assert isinstance(dino, DinoModel)
        assert isinstance(sam2, Sam2Model)
        with torch.inference_mode():
            yield _encoders(stand, sam2)
            yield _attention(stand, dino)
            yield _layouts(stand, sam2)
            yield _beside_timm(stand, dino)
        yield from _clicks(stand, engines, sam2)
        yield _written_beside(stand, engines, dino)
        yield _decoded_ahead(stand, engines, dino)


def _size(stand: Stand) -> tuple[int, int]:
    return DRY_SIZE if stand.dry else SIZE


def _encoding(sam2: Sam2Model, count: int) -> Callable[[], object]:
    side = sam2.image_size
    pixels = torch.rand(count, 3, side, side).to(DEVICE)
    return lambda: encoded_together(sam2.network, pixels, [(side, side)] * count)


def _encoders(stand: Stand, sam2: Sam2Model) -> Row:
    """Pictures in one pass of SAM2's encoder."""
    figures = {f"{count}_ms_each": 1000 * stand.seconds(_encoding(sam2, count)) / count for count in ENCODED}
    return Row("pictures in one pass of sam2's encoder", figures=figures)


def _attention(stand: Stand, dino: DinoModel) -> Row:
    """The kernel that torch takes for attention, which must be a fused one, and the plain products in its place."""
    act = dino_pass(stand, dino, 1)
    try:
        with sdpa_kernel(FUSED):
            act()
    except RuntimeError as error:  # torch's, where none of them takes what it is asked
        return Row("attention", False, {"said": str(error)})
    kinds: dict[str, AbstractContextManager[object]] = {
        "as_it_is_ms": nullcontext(),
        "plain_ms": sdpa_kernel(SDPBackend.MATH),
    }
    figures = {}
    for name, kind in kinds.items():
        with kind:
            figures[name] = 1000 * stand.seconds(act)
    return Row("attention", True, figures)


def _layouts(stand: Stand, sam2: Sam2Model) -> Row:
    """Convolutions whose channels lie last, as models are loaded, and in torch's own order."""
    act = _encoding(sam2, 1)
    figures = {"channels_last_ms": 1000 * stand.seconds(act)}
    layout: dict[str, Any] = {
        "memory_format": torch.contiguous_format
    }  # torch's stub has no call with it alone
    sam2.network.to(**layout)
    figures["channels_first_ms"] = 1000 * stand.seconds(act)
    return Row("layout of sam2's encoder", figures=figures)


def _beside_timm(stand: Stand, dino: DinoModel) -> Row:
    """Pictures in one pass of DINO, which is to be as fast as timm's own with the same weights."""
    count, dtype = 2 if stand.dry else TOGETHER, torch.float32 if stand.dry else torch.bfloat16
    own = deepcopy(networks.dino(dino.entry.key, str(stand.weights))).to(DEVICE, dtype)
    some = pictures_for_dino(stand, count).to(DEVICE, dtype)
    ours = count / stand.seconds(dino_pass(stand, dino, count))
    theirs = count / stand.seconds(partial(own.forward_features, some))
    figures = {"per_s": ours, "timm_per_s": theirs}
    return Row("dino beside timm's own", None if stand.dry else ours >= AS_FAST * theirs, figures)


def _clicks(stand: Stand, engines: Engines, sam2: Sam2Model) -> Iterator[Row]:
    """Clicks of several callers, each on its own picture, in one pass; one alone has an anchor."""
    params, prompts = PredictMasksParams(), (Prompt(point_coords=((40.0, 30.0),), point_labels=(1,)),)
    for count in CLICKS[: 2 if stand.dry else None]:
        pictures = [stand.item(*_size(stand), seed) for seed in range(count)]
        items = [PromptItem(each.image, digest=each.digest, prompts=prompts) for each in pictures]
        prepared = [engines.prepare(PREDICT_MASKS.rpc, each, params, sam2) for each in items]
        act = partial(_answered, engines, PREDICT_MASKS.rpc, prepared, params, sam2)
        act()  # the pictures are encoded, and kept
        # As the next questions find them.
        prepared[:] = [engines.prepare(PREDICT_MASKS.rpc, each, params, sam2) for each in items]
        taken_ms = 1000 * stand.seconds(act)
        holds = taken_ms <= MOST_CLICK_MS if stand.is_anchored and count == 1 else None
        yield Row(f"{count} clicks in a pass", holds, {"ms": taken_ms, "ms_each": taken_ms / count})


def _answered(
    engines: Engines, operation: str, prepared: list[Prepared], params: Any, loaded: Loaded
) -> list[object]:
    """A pass with all of its answers written."""
    return list(engines.run(operation, prepared, params, loaded))


def _written_beside(stand: Stand, engines: Engines, dino: DinoModel) -> Row:
    """Answers that come home and are written before the next pass begins, and beside it."""
    params = DinoExtractFeaturesParams(ret_patches=False, load_size=56 if stand.dry else 224)
    item = stand.item(*_size(stand))
    prepared = [engines.prepare(EXTRACT_DINO.rpc, item, params, dino)]
    passes = 2 if stand.dry else PASSES

    def in_turn() -> None:
        for _ in range(passes):
            _answered(engines, EXTRACT_DINO.rpc, prepared, params, dino)

    with ThreadPoolExecutor(1) as writing:

        def beside() -> None:
            begun: list[Future[list[object]]] = [
                writing.submit(list, engines.run(EXTRACT_DINO.rpc, prepared, params, dino))
                for _ in range(passes)
            ]
            for each in begun:
                each.result()

        figures = {
            f"{name}_ms_each": 1000 * stand.seconds(act) / passes
            for name, act in (("in_turn", in_turn), ("beside", beside))
        }
    return Row("answers written beside the next pass", figures=figures)


def _decoded_ahead(stand: Stand, engines: Engines, dino: DinoModel) -> Row:
    """Pictures decoded and pinned by one thread, and by several."""
    params = DinoExtractFeaturesParams(load_size=56 if stand.dry else 224)
    count = 2 if stand.dry else PICTURES
    items = [stand.item(*_size(stand), seed) for seed in range(count)]

    def prepare(number: int) -> None:
        with stand.cuda.at_work() if stand.dry else nullcontext():
            engines.prepare(EXTRACT_DINO.rpc, items[number], params, dino)

    def per_s(threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            began = time.monotonic()
            for _ in pool.map(prepare, range(count)):
                pass
            return count / (time.monotonic() - began)

    rates: Sequence[tuple[str, float]] = [
        (f"{threads}_threads_per_s", per_s(threads)) for threads in (1, THREADS)
    ]
    return Row("pictures decoded ahead", figures=dict(rates))
