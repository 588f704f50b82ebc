"""What a pass will cost, known before it begins; refuses pictures that would keep a device for many minutes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import nn

from featsvc.engines.geometry.sizing import Fit, Grid, WidthHeight, geometry_of
from featsvc.engines.geometry.windows import Windows
from featsvc.errors import invalid_field
from featsvc.work.options import EngineOptions
from featsvc.work.results import Geometry

log = logging.getLogger(__name__)
TERA = 1e12
MAX_TFLOP = {"cpu": 25.0}
"""Where nobody set a limit: four minutes of two cores, and more than dinov2_vitl14 takes for 1800 x 1200 pixels."""
MAX_TFLOP_GPU = 2000.0
LONG_FLOP = 10 * TERA
"""A pass of more than this is watched while a GPU computes it: it takes a second or so."""
NOTED_FLOP = 5 * TERA
"""A pass of more than this is told in the log of a CPU's worker: a minute or more of two cores."""
BRISK_FLOP = 0.1 * TERA
"""What is advised instead: a second or two."""


MOST_WINDOWS = 1024
"""Windows of a picture: with 224 and 112 pixels those of 3,600 x 3,600."""


@dataclass(frozen=True)
class Transformer:
    """The blocks of a ViT: arithmetic in floating point of a pass over so many tokens."""

    blocks: int
    width: int
    token_flop: int
    """Of the linear layers of one block, for one token."""

    @classmethod
    def of(cls, blocks: Iterable[nn.Module], width: int) -> Transformer:
        """What these blocks, which are alike, do."""
        every = list(blocks)
        return cls(len(every), width, sum(map(linear_flop, every)) // max(1, len(every)))

    def first(self, blocks: int) -> Transformer:
        """The same up to some block."""
        return replace(self, blocks=blocks)

    def flop(self, tokens: int) -> float:
        """Linear layers see each token, and attention each pair of tokens, twice."""
        return float(self.blocks) * tokens * (self.token_flop + 4 * tokens * self.width)


class Cost(Protocol):
    """What a pass of a network costs, or of two together."""

    def flop(self, tokens: int) -> float:
        """Of so many tokens, one for each cell of the grid."""


def linear_flop(network: nn.Module) -> int:
    """Arithmetic of all linear layers of a network for one row."""
    layers: Iterable[Any] = network.modules()  # Any: packed layers have the same two numbers
    return sum(
        2 * each.in_features * each.out_features
        for each in layers
        if hasattr(each, "in_features") and hasattr(each, "out_features")
    )


def max_tflop(options: EngineOptions) -> float:
    """The limit that is in force on this device."""
    return options.max_tflop or MAX_TFLOP.get(options.device, MAX_TFLOP_GPU)


@dataclass(frozen=True)
class Sight:
    """A picture before a ViT: its size as sent, and how it is brought to the network."""

    size: WidthHeight
    fit: Fit
    grid: Grid
    windows: Windows | None = None
    """Where it is not seen as a whole."""

    def flop(self, network: Cost) -> float:
        """What the pass costs."""
        geometry = geometry_of(self.size, self.fit, self.grid)
        if self.windows is None:
            return network.flop(cells_of(geometry))
        # The class token is one of few in a small window.
        return self.windows.count(geometry) * network.flop(self.windows.cells(geometry) + 1)


def cells_of(geometry: Geometry) -> int:
    """Cells of a grid."""
    return geometry.grid_height * geometry.grid_width


def checked_flop(sight: Sight, network: Cost, name: str, options: EngineOptions) -> float:
    """What the pass costs; refuses one over the limit, and says what would make it fit."""
    _check_windows(sight)
    cost = sight.flop(network)
    excess = _excess(cost, f"in {name}", options)
    if not excess:
        if cost > NOTED_FLOP and options.device == "cpu":
            _note(sight, cost, lambda other: other.flop(network) <= BRISK_FLOP, name)
        return cost
    finer = sight.grid.stride < sight.grid.patch
    value = sight.grid.stride if finer else sight.fit.load_size
    cells = cells_of(geometry_of(sight.size, sight.fit, sight.grid))
    message = (
        f"{value} makes {cells} cells of this picture, which {excess}: "
        f"{_remedy(sight, lambda other: other.flop(network) <= max_tflop(options) * TERA)}"
    )
    raise invalid_field("params.stride" if finer else "params.load_size", message)


def _check_windows(sight: Sight) -> None:
    """Refuses very many windows: small ones take far longer than their arithmetic."""
    if sight.windows is None:
        return
    count = sight.windows.count(geometry_of(sight.size, sight.fit, sight.grid))
    if count > MOST_WINDOWS:
        message = f"make {count} windows of this picture, at most {MOST_WINDOWS}: take larger ones that overlap less"
        raise invalid_field("params.window_size", f"{message}, or a smaller load_size")


def check_texts(cost: float, field: str, name: str, options: EngineOptions) -> None:
    """Refuses texts that cost more than a picture may."""
    if excess := _excess(cost, f"in {name}", options):
        raise invalid_field(field, f"all their sentences {excess}: send fewer texts at once")


def check_tiles(count: int, cost: float, name: str, options: EngineOptions) -> None:
    """Refuses a pyramid of more tiles, or that costs more, than one request may."""
    remedy = "take a larger tile_ratio_min or tile_stride_ratio, or fewer tile_levels"
    why = ""
    if count > options.max_crops:
        why = f"at most {options.max_crops} (--max-crops)"
    elif excess := _excess(cost, f"in {name}", options):
        why = f"which {excess}"
    if why:
        raise invalid_field("params.tile_ratio_min", f"makes {count} tiles of this picture, {why}: {remedy}")


def check_pictures(count: int, cost: float, field: str, options: EngineOptions) -> None:
    """Refuses several pictures of one request that cost more than one may."""
    if excess := _excess(cost, "together", options):
        remedy = "name fewer pictures, or take a smaller load_size"
        raise invalid_field(field, f"the {count} pictures {excess}: {remedy}")


def _excess(cost: float, where: str, options: EngineOptions) -> str:
    """What is told of a cost that one request may not have; empty where it may."""
    limit = max_tflop(options) * TERA
    if cost <= limit:
        return ""
    told = f"cost {_shown(cost)} TFLOP {where}, at most {_shown(limit)}"
    return f"{told} on this server's {_kind(options)} (--max-tflop)"


def _note(sight: Sight, cost: float, is_brisk: Callable[[Sight], bool], name: str) -> None:
    """Tells who runs the server why it is busy for so long; that the caller may ask for it is documented."""
    width, height = sight.size
    log.warning(
        f"a picture of {width} x {height} pixels at load_size {sight.fit.load_size} makes "
        f"{cells_of(geometry_of(sight.size, sight.fit, sight.grid))} cells, which cost {_shown(cost)} TFLOP in {name}: "
        f"minutes on a CPU; for seconds {_remedy(sight, is_brisk)}"
    )


def _remedy(sight: Sight, fits: Callable[[Sight], bool]) -> str:
    """What to ask for instead."""
    patch = sight.grid.patch
    strides = [each for each in range(sight.grid.stride + 1, patch + 1) if patch % each == 0]
    for stride in strides:
        if fits(replace(sight, grid=Grid(patch, stride))):
            return f"stride {stride} fits, or take a smaller load_size"
    largest = _largest_load_size(replace(sight, grid=Grid(patch, patch)), fits)
    if largest is None:
        return "cut the picture: no load_size makes it small enough"
    coarse = f"stride {patch} and " if strides else ""
    return f"take {coarse}load_size {largest} or less (pixels of the shorter side)"


def _largest_load_size(sight: Sight, fits: Callable[[Sight], bool]) -> int | None:
    def at(load_size: int) -> bool:
        return fits(replace(sight, fit=replace(sight.fit, load_size=load_size)))

    low, high = (
        0,
        min(sight.size) * max(1, -sight.fit.load_size) if sight.fit.load_size < 0 else sight.fit.load_size,
    )
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if at(middle) else (low, middle - 1)
    return low or None


def _shown(flop: float) -> str:
    tera = flop / TERA
    return f"{tera:,.0f}" if tera >= 10 else f"{math.ceil(tera * 10) / 10:g}"


def _kind(options: EngineOptions) -> str:
    return "CPU" if options.device == "cpu" else "GPU"
