"""How a picture becomes DINO's dense features as a request says."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from PIL.Image import Image
from torch import Tensor

from featsvc.engines.dino.features import CELLS, Reading, descriptors, log_binned
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.geometry.sizing import Fit, Grid, NetworkInput, checked_geometry, network_input
from featsvc.engines.networks.cost import Sight, cells_of, checked_flop
from featsvc.engines.running.family import forward_each
from featsvc.errors import invalid_field
from featsvc.v1.schema import DinoParams, PaddingMode
from featsvc.work.options import EngineOptions
from featsvc.work.results import Geometry


class OnePicture:
    """What DINO's networks read of one picture: each reading once, however many answers of a request are made of it."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Tensor] = {}
        self._planned = set[Hashable]()

    def spared_flop(self, loaded: DinoModel, geometry: Geometry, reading: Reading) -> float:
        """What `tokens` will not cost, for it is planned already; plans it."""
        key = loaded.identity, geometry, reading
        if key in self._planned:
            return loaded.transformer.first(reading.layer + 1).flop(cells_of(geometry))
        self._planned.add(key)
        return 0.0

    def tokens(self, loaded: DinoModel, pixels: Tensor, geometry: Geometry, reading: Reading) -> Tensor:
        """`descriptors` of it, 1 x 3 x H x W; padded with zeros, its pixels are the same where its geometry is."""
        key = loaded.identity, geometry, reading
        if key not in self._known:
            self._known[key] = descriptors(
                loaded.network, pixels, geometry.stride, loaded.entry.position, reading
            )
        return self._known[key]


@dataclass(frozen=True)
class DinoPass:
    """The network of a request, what is read of it, and what that makes of pictures."""

    loaded: DinoModel
    reading: Reading
    grid: Grid
    fit: Fit
    is_binned: bool
    picture: OnePicture | None = field(default=None, kw_only=True)
    """Where it is the only one that is asked about, padded with zeros."""

    @classmethod
    def of(
        cls, loaded: DinoModel, params: DinoParams, padding_mode: PaddingMode = PaddingMode.CONSTANT
    ) -> DinoPass:
        """Raises InvalidFields where the network has no such block or no such stride."""
        grid = Grid(loaded.entry.patch_size, _stride(params, loaded))
        fit = Fit(params.load_size, center_crop=False, padding_mode=padding_mode)
        return cls(loaded, Reading(params.facet, _layer(params, loaded)), grid, fit, params.bin)

    @property
    def channels(self) -> int:
        """Of each cell: with `bin` 17 times as many as of a token."""
        return self.loaded.channels * (CELLS if self.is_binned else 1)

    @property
    def space(self) -> str:
        """Name of the space that the features are in."""
        facet, layer = self.reading
        return f"{self.loaded.entry.key}/{facet}/{layer}{'/bin' if self.is_binned else ''}"

    @property
    def identity(self) -> Hashable:
        """Equal for networks that give the same answers."""
        return self.loaded.identity

    def geometry(self, picture: Image, options: EngineOptions) -> Geometry:
        """How the grid will lie on the picture; raises InvalidFields where that is too large."""
        return checked_geometry(picture, self.fit, self.grid, options)

    def flop(self, picture: Image, options: EngineOptions) -> float:
        """What the pass costs; raises InvalidFields where that is too much."""
        transformer = self.loaded.transformer.first(self.reading.layer + 1)
        sight = Sight(picture.size, self.fit, self.grid)
        return checked_flop(sight, transformer, self.loaded.entry.key, options)

    def spared_flop(self, geometry: Geometry) -> float:
        """What of that another answer about the picture has paid for."""
        return 0.0 if self.picture is None else self.picture.spared_flop(self.loaded, geometry, self.reading)

    def input(self, picture: Image) -> NetworkInput:
        """The picture as the network sees it, 3 x H x W."""
        return network_input(picture, self.fit, self.grid, self.loaded.normal, self.loaded.device)

    def pixels(self, ready: NetworkInput) -> int:
        """What the pass takes of the memory: a finer stride makes more tokens of the same pixels."""
        return ready.pixel_count * (self.grid.patch // self.grid.stride) ** 2

    def features(self, inputs: Sequence[NetworkInput]) -> Iterator[Tensor]:
        """Features h x w x D, float32, of each of several pictures of one size."""
        loaded, geometry = self.loaded, inputs[0].geometry

        def forward(pixels: Tensor) -> Tensor:
            if self.picture is not None:
                return self.picture.tokens(loaded, pixels, geometry, self.reading)
            return descriptors(loaded.network, pixels, geometry.stride, loaded.entry.position, self.reading)

        for found in forward_each(inputs, loaded.normal, loaded.device, forward):
            yield log_binned(found) if self.is_binned else found


def _stride(params: DinoParams, loaded: DinoModel) -> int:
    """Pixels between neighbouring patches; raises InvalidFields where that is no divisor of the patch size."""
    patch = loaded.entry.patch_size
    stride = params.stride or patch
    if patch % stride:
        divisors = ", ".join(str(each) for each in range(1, patch + 1) if patch % each == 0)
        raise invalid_field(
            "params.stride", f"{stride} does not divide the patch size of {loaded.entry.key}: {divisors} do"
        )
    return stride


def _layer(params: DinoParams, loaded: DinoModel) -> int:
    """Number of the block that is read, from 0; raises InvalidFields where there is none."""
    count = loaded.layers
    if not -count <= params.layer < count:
        message = f"{params.layer} is no block of {loaded.entry.key}, which has {-count} to {count - 1}"
        raise invalid_field("params.layer", message)
    return params.layer % count
