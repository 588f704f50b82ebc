"""How fast it is: networks by themselves, automatic masks, the compiler, and what starting kernels costs."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco
from torch import Tensor

from featsvc.engines.clip.dense import dense_features
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.features import Reading, descriptors
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.networks.graphs import Graphed, Tensors
from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Loaded
from featsvc.engines.sam2.embedding import encoded, levels
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.prompts import Prompts
from featsvc.settings.kinds import Precision
from featsvc.v1.schema import Facet, GenerateMasksParams, MaskEncoding
from featsvc.work.item import PictureItem
from featsvc.work.operations import GENERATE_MASKS
from featsvc.work.results import MaskList, Rle
from tests.engines import models, upstream
from tests.gpu.conditions import DEVICE, Conditions
from tests.gpu.rows import Figures, Row
from tests.gpu.stand import Stand

Size = tuple[int, int]
"""Width and height."""
SIZES = ((1024, 768), (1800, 1200))
DRY_SIZES = ((96, 64),)
THRESHOLDS = {"pred_iou_thresh": 0.8, "stability_score_thresh": 0.95}
DRY_THRESHOLDS = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}
LEAST_MIOU: dict[Precision, float] = {"fp32": 0.994, "bf16": 0.98}
"""Of our masks with the nearest of sam2's own in float32, and of those with ours."""
MORE_OR_LESS: dict[Precision, float] = {"fp32": 0.05, "bf16": 0.15}
"""Masks, in parts of the larger number: some are near a threshold."""
MOST_S: dict[Precision, float] = {"fp32": 0.326, "bf16": 0.120}
"""For one picture, on cards of which other systems have told that."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
COMPARED = 100
SIDE = 518
DRY_SIDE = 56
NEAR = 5e-2
"""What a compiler may change in bfloat16, in parts of the largest value."""


def masks(conditions: Conditions) -> Iterator[Row]:
    """Automatic masks, beside those of the sam2 package on the same device."""
    stand = Stand.of(conditions)
    # The package cannot be had on a pretended GPU: it takes numpy of device tensors.
    package = models.engines() if stand.dry else stand.engines(precision="fp32")
    network: Any = package.load(stand.models["sam2"])
    sizes = DRY_SIZES if stand.dry else SIZES
    options = {"points_per_side": 4 if stand.dry else 32, **(DRY_THRESHOLDS if stand.dry else THRESHOLDS)}
    theirs: dict[Size, list[Any]] = {}
    for size in sizes:
        theirs[size], figures = _package(stand, network, size, options)
        yield Row(f"sam2's own {size[0]}x{size[1]}", figures=figures)
    with stand.at_work():
        yield from _ours(stand, sizes, options, theirs)


def _ours(
    stand: Stand, sizes: Sequence[Size], options: dict[str, Any], theirs: Mapping[Size, list[Any]]
) -> Iterator[Row]:
    for precision in LEAST_MIOU:
        # A picture that is kept would not be encoded again.
        engines = stand.engines(precision=precision, embedding_cache=0)
        loaded = engines.load(stand.models["sam2"])
        for size in sizes:
            act = _search(engines, loaded, stand.item(*size), options)
            yield _beside(stand, precision, size, act, theirs[size])


def _search(
    engines: Engines, loaded: Loaded, item: PictureItem, options: dict[str, Any]
) -> Callable[[], MaskList]:
    """A request for the masks of a picture."""
    params = GenerateMasksParams(mask_encoding=MaskEncoding.COCO_RLE, **options)

    def act() -> MaskList:
        made = models.answer(engines, GENERATE_MASKS.rpc, item, params, loaded)
        assert isinstance(made, MaskList)
        return made

    return act


def _beside(
    stand: Stand, precision: Precision, size: Size, act: Callable[[], MaskList], theirs: list[Any]
) -> Row:
    what, least = f"{precision} {size[0]}x{size[1]}", LEAST_MIOU[precision]
    ours = [_coco(each.segmentation) for each in act().masks]
    miou = nearest(ours, theirs)
    taken = stand.seconds(act, 3.0)
    figures = {"s": taken, "masks": len(ours), "miou": miou}
    holds = miou >= least and are_as_many(len(ours), len(theirs), MORE_OR_LESS[precision])
    if not stand.dry:
        figures["device_busy_s"] = _busy_seconds(act)
    if stand.is_anchored:
        figures["most_s"] = MOST_S[precision]
        holds = holds and taken <= MOST_S[precision]
    return Row(what, holds, figures)


def _package(
    stand: Stand, loaded: Sam2Model, size: Size, options: dict[str, Any]
) -> tuple[list[Any], Figures]:
    """Masks of sam2's own generator as COCO writes them, with seconds in float32 and in bfloat16."""
    pixels = np.asarray(Image.open(io.BytesIO(stand.item(*size).image)).convert("RGB"))
    generator = upstream.generator(loaded, output_mode="coco_rle", **options)
    ways: dict[str, AbstractContextManager[object]] = {"fp32_s": nullcontext()}
    if not stand.dry:
        ways["bf16_s"] = torch.autocast("cuda", torch.bfloat16)
    figures: Figures = {}
    with torch.inference_mode():
        found = [each["segmentation"] for each in generator.generate(pixels)]
        for name, way in ways.items():
            with way:
                # Warm by what it has just found, and slow.
                figures[name] = stand.seconds(lambda: generator.generate(pixels), 2.0, warm_up=1)
    return found, {**figures, "masks": len(found)}


def _coco(segmentation: object) -> dict[str, object]:
    assert isinstance(segmentation, Rle)
    return {"size": list(segmentation.size), "counts": segmentation.counts}


def nearest(ours: list[Any], theirs: list[Any]) -> float:
    """The smaller mean IoU of the first masks of each with the nearest of the other; 0 where there are none."""
    if not ours or not theirs:
        return 0.0
    return min(_nearest(ours, theirs), _nearest(theirs, ours))


def _nearest(some: list[Any], others: list[Any]) -> float:
    ious = coco.iou(some[:COMPARED], others, [0] * len(others))
    return float(np.asarray(ious).max(axis=1).mean())


def are_as_many(ours: int, theirs: int, more_or_less: float) -> bool:
    """Whether two numbers of masks are near each other."""
    return abs(ours - theirs) <= more_or_less * max(ours, theirs)


def _busy_seconds(act: Callable[[], object]) -> float:
    """How long the device computes for a call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        act()
        torch.cuda.synchronize()
    total: float = sum(each.self_device_time_total for each in profile.key_averages())
    return total / 1e6


def rates(conditions: Conditions) -> Iterator[Row]:
    """Networks as the engines call them, their pictures on the device already: what no server can exceed."""
    stand = Stand.of(conditions)
    with stand.at_work():
        for precision in PRECISIONS[:1] if stand.dry else PRECISIONS:
            engines = stand.engines(precision=precision)
            with torch.inference_mode():
                for name, act, count in _passes(stand, engines):
                    taken = stand.seconds(act, 0.3)
                    yield Row(f"{name} {precision}", figures={"per_s": count / taken, "ms": 1000 * taken})


def _passes(stand: Stand, engines: Engines) -> Iterator[tuple[str, Callable[[], object], int]]:
    """Each network's name, a pass of it, and how many pictures or prompts that is."""
    clip, dino, sam2 = (engines.load(stand.models[family]) for family in ("clip", "dino", "sam2"))
    assert isinstance(clip, ClipModel)
    assert isinstance(dino, DinoModel)
    assert isinstance(sam2, Sam2Model)
    for count in (1, 2) if stand.dry else (1, 8, 32):
        side = DRY_SIDE if stand.dry else clip.visual.image_size[0]
        some = torch.rand(count, 3, side, side).to(DEVICE)
        yield f"clip dense {count}", partial(dense_features, clip.visual, some), count
        yield f"dino {count}", dino_pass(stand, dino, count), count
    embed = _encoder_pass(sam2)
    yield "sam2 encoder", embed, 1
    decoder = PointDecoder(sam2.network, embed(), sam2.steps)
    for count in (1, 8) if stand.dry else (1, 64, 256):
        coords = torch.rand(count, 1, 2).to(DEVICE) * sam2.image_size
        prompts = Prompts(coords, torch.ones(count, 1, dtype=torch.int32).to(DEVICE), None)
        yield f"sam2 points {count}", partial(decoder.answers, prompts, True), count


def dino_pass(stand: Stand, dino: DinoModel, count: int, device: str = DEVICE) -> Callable[[], Tensor]:
    """A pass of DINO over so many pictures."""
    some = pictures_for_dino(stand, count).to(device)
    reading, entry = Reading(Facet.TOKEN, dino.layers - 1), dino.entry
    return lambda: descriptors(dino.network, some, entry.patch_size, entry.position, reading)


def pictures_for_dino(stand: Stand, count: int) -> Tensor:
    """So many, as DINO is shown them."""
    side = DRY_SIDE if stand.dry else SIDE
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def _encoder_pass(sam2: Sam2Model) -> Callable[[], Any]:
    side = sam2.image_size
    pixels = torch.rand(3, side, side).to(DEVICE)
    return lambda: encoded(sam2.network, pixels, (side, side))


def compiled(conditions: Conditions) -> Iterator[Row]:
    """What `--compile` costs at the start and gains, and that it answers the same; a trial compiles for the CPU."""
    from torch._dynamo.utils import counters  # it takes a second

    stand = Stand.of(conditions)
    device = "cpu" if stand.dry else DEVICE
    precision = "fp32" if stand.dry else "bf16"
    key = stand.models["dino"]
    rates: Figures = {}
    found: dict[bool, Tensor] = {}
    graphs = counters["stats"]["unique_graphs"]
    for each in (False, True):
        engines = stand.engines(device=device, precision=precision, compile=each)
        began = time.monotonic()
        with traced_only() if stand.dry else nullcontext():
            loaded = engines.load(key)
        took = time.monotonic() - began
        assert isinstance(loaded, DinoModel)
        act = dino_pass(stand, loaded, 1, device)
        name = "compiled" if each else "plain"
        with torch.inference_mode():
            found[each] = act().float()
            rates |= {f"{name}_load_s": took, f"{name}_ms": 1000 * stand.seconds(act)}
    apart = float((found[True] - found[False]).abs().max() / found[False].abs().max())
    # Where torch goes back to uncompiled code it says nothing.
    graphs = counters["stats"]["unique_graphs"] - graphs
    yield Row(key, graphs > 0 and apart <= NEAR, {**rates, "graphs": graphs, "apart": apart})


@contextmanager
def traced_only() -> Iterator[None]:
    """Within the block what is compiled is traced, and no code is made of it, which takes half a minute."""
    whole = torch.compile
    torch.compile = partial(whole, backend="eager")
    try:
        yield
    finally:
        torch.compile = whole


def launches(conditions: Conditions) -> Iterator[Row]:
    """What the encoder of SAM2 gives the device to do, and its usual passes one kernel after the other and captured."""
    stand = Stand.of(conditions)
    with stand.at_work():
        for precision in PRECISIONS[:1] if stand.dry else PRECISIONS:
            loaded = stand.engines(precision=precision, cuda_graphs=True).load(stand.models["sam2"])
            assert isinstance(loaded, Sam2Model)
            with torch.inference_mode():
                count = _launches(stand, _encoder_pass(loaded))
                yield Row(f"sam2 encoder {precision}", count > 0, {"launches": count})
                for name, graphed, inputs in _captured(loaded):
                    yield replayed(stand, f"sam2 {name} {precision}", graphed, inputs)


def _captured(loaded: Sam2Model) -> Iterator[tuple[str, Graphed | None, Tensors]]:
    """Names of passes with their graphs, and what they are asked."""
    side = loaded.image_size
    pixels = torch.rand(1, 3, side, side).to(DEVICE)
    yield "encoder, captured", loaded.encode, (pixels,)
    click = torch.rand(1, 1, 2).to(DEVICE) * side, torch.ones(1, 1, dtype=torch.int32).to(DEVICE)
    yield "click, captured", loaded.prompt.get(True), (*click, *levels(loaded.network, pixels))


def replayed(stand: Stand, what: str, graphed: Graphed | None, inputs: Tensors) -> Row:
    """Whether a pass was captured and its replay answers the same; how long both take."""
    found = None if graphed is None else graphed.replayed(*inputs)
    if graphed is None or found is None:
        return Row(what, False, {"said": "not captured: the log says why"})
    pairs = zip(found, graphed.act(*inputs), strict=True)
    apart = max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)
    plain, again = (1000 * stand.seconds(partial(act, *inputs)) for act in (graphed.act, graphed.replayed))
    # Written so that NaN counts as wrong.
    return Row(what, bool(apart <= NEAR), {"plain_ms": plain, "replayed_ms": again, "apart": apart})


def _launches(stand: Stand, act: Callable[[], object]) -> int:
    """Kernels and copies of one pass; of a pretended GPU, operators."""
    if stand.dry:
        stand.cuda.forget()
        act()
        return stand.cuda.operators.total()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        act()
        torch.cuda.synchronize()
    return sum(each.count for each in profile.key_averages() if each.self_device_time_total)
