"""How a picture becomes dense features as a request says: by CLIP, or by CLIP and the DINO model that it names."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from PIL.Image import Image
from torch import Tensor

from featsvc.engines.clip.dense import dense_features, proxied_features
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.recipes import Proxy
from featsvc.engines.dino.dense_pass import OnePicture
from featsvc.engines.dino.features import Reading, descriptors
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.geometry.sizing import (
    Fit,
    Grid,
    NetworkInput,
    check_cells,
    checked_geometry,
    network_input,
)
from featsvc.engines.geometry.windows import Windows, over_windows
from featsvc.engines.networks.cost import Sight, Transformer, checked_flop
from featsvc.engines.running.colours import Normal
from featsvc.engines.running.family import Loaded, Together, forward_each
from featsvc.errors import invalid_field
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    ClipParams,
    ComputeSimilarityParams,
    Facet,
    PaddingMode,
)
from featsvc.work.options import EngineOptions
from featsvc.work.results import Geometry

DenseParams = ClipExtractFeaturesParams | ComputeSimilarityParams


@dataclass(frozen=True)
class ProxyCost:
    """What ProxyCLIP costs: DINO and CLIP see the same pixels, and DINO's cells are compared with each other."""

    clip: Transformer
    dino: Transformer
    clip_cells: float
    """CLIP's for each of DINO's."""

    def flop(self, tokens: int) -> float:
        """Of so many cells of DINO's grid."""
        compared = 2.0 * tokens**2 * (self.clip.width + self.dino.width)
        return self.dino.flop(tokens) + self.clip.flop(math.ceil(tokens * self.clip_cells)) + compared


@dataclass(frozen=True)
class DensePass:
    """The networks of a request for dense features, and what they make of pictures."""

    clip: ClipModel
    proxy: DinoModel | None
    """The model that `proxy_model` names: its grid is that of the features."""
    params: ClipParams
    padding_mode: PaddingMode = PaddingMode.CONSTANT
    normal: Normal | None = field(default=None, kw_only=True)
    """Of the colours as CLIP sees them; None: its own."""
    picture: OnePicture | None = field(default=None, kw_only=True)
    """Where it is the only one that is asked about, padded with zeros: what DINO reads of it is known to others."""

    @classmethod
    def of(cls, loaded: Loaded, params: DenseParams) -> DensePass:
        """With the models of a request, CLIP's first."""
        clip, proxy = clip_and_proxy(loaded.models if isinstance(loaded, Together) else (loaded,))
        return cls(clip, proxy, params, params.padding_mode)

    @cached_property
    def windows(self) -> Windows | None:
        """The windows that the picture is seen through, if any; refuses those that do not lie on the grid."""
        params, patch = self.params, self._grid.patch
        if params.window_size is None:
            return None
        stride = params.window_stride or max(patch, params.window_size // 2 // patch * patch)
        for name, pixels in (("window_size", params.window_size), ("window_stride", stride)):
            if pixels % patch:
                low = max(1, pixels // patch) * patch
                key = (self.proxy or self.clip).entry.key
                message = f"{pixels} is no multiple of the patch size of {key}: {low} and {low + patch} are"
                raise invalid_field(f"params.{name}", message)
        return Windows(params.window_size // patch, stride // patch)

    @property
    def channels(self) -> int:
        """Of each cell."""
        return self.clip.channels

    @property
    def identity(self) -> Hashable:
        """Equal for networks that give the same answers."""
        return self.clip.identity, None if self.proxy is None else self.proxy.identity

    @property
    def space(self) -> str:
        """Name of the space that the features are in."""
        own = f"{self.clip.entry.key}/{self.params.dense_recipe}"
        return own if self.proxy is None else f"{own}/{self.proxy.entry.key}"

    def geometry(self, picture: Image, options: EngineOptions) -> Geometry:
        """How the grid will lie on the picture; raises InvalidFields where that, or CLIP's beside it, is too large."""
        geometry = checked_geometry(picture, self._fit, self._grid, options)
        if self.proxy is not None:
            check_cells(self._clip_cells(geometry), options)
        return geometry

    def flop(self, picture: Image, options: EngineOptions) -> float:
        """What the pass costs; raises InvalidFields where that is too much."""
        sight = Sight(picture.size, self._fit, self._grid, self.windows)
        own = self.clip.transformer
        if self.proxy is None:
            return checked_flop(sight, own, self.clip.entry.key, options)
        cost = ProxyCost(own, self.proxy.transformer, (self._grid.patch / self.clip.patch_size) ** 2)
        return checked_flop(sight, cost, f"{self.clip.entry.key} and {self.proxy.entry.key}", options)

    def spared_flop(self, geometry: Geometry) -> float:
        """What of that another answer about the picture has paid for: what DINO reads of the whole of it."""
        if self.proxy is None or self.picture is None or self.windows is not None:
            return 0.0
        return self.picture.spared_flop(self.proxy, geometry, _last(self.proxy))

    def input(self, picture: Image) -> NetworkInput:
        """The picture as the networks see it, 3 x H x W; with a proxy bytes, of which each makes its colours."""
        return network_input(picture, self._fit, self._grid, self._normal, self.clip.device)

    def pixels(self, ready: NetworkInput) -> int:
        """What the pass takes of the memory."""
        return ready.pixel_count

    def features(self, inputs: Sequence[NetworkInput]) -> list[Tensor]:
        """Dense features h x w x D, float32, of each of several pictures of one size."""
        forward = partial(self._forward, inputs[0].geometry)
        return forward_each(inputs, self._normal, self.clip.device, forward)

    def _forward(self, geometry: Geometry, pixels: Tensor) -> Tensor:
        """Features N x h x w x D of pictures as they are seen."""
        if self.windows is None:
            return self._features(pixels, geometry)
        return over_windows(pixels, self._grid.patch, self.windows, self._features)

    def _features(self, pixels: Tensor, geometry: Geometry | None = None) -> Tensor:
        """Of whole pictures of that geometry, or of windows."""
        visual, dino = self.clip.visual, self.proxy
        if dino is None:
            return dense_features(visual, pixels, self.params.dense_recipe)
        own, theirs = pixels.chunk(2, dim=1)
        patch, last = dino.entry.patch_size, _last(dino)
        if self.picture is None or geometry is None:
            tokens = descriptors(dino.network, theirs, patch, dino.entry.position, last)
        else:
            tokens = self.picture.tokens(dino, theirs, geometry, last)
        return proxied_features(visual, own, Proxy(dino.network.norm(tokens), patch))

    def _clip_cells(self, geometry: Geometry) -> int:
        """Of CLIP's grid, which covers the whole of a grid of the proxy."""
        sides = geometry.grid_height * geometry.patch_size, geometry.grid_width * geometry.patch_size
        return math.prod(math.ceil(side / self.clip.patch_size) for side in sides)

    @property
    def _grid(self) -> Grid:
        return Grid.of_patches(self.clip.patch_size if self.proxy is None else self.proxy.entry.patch_size)

    @property
    def _fit(self) -> Fit:
        return Fit(self.params.load_size, self.params.center_crop, self.padding_mode)

    @property
    def _normal(self) -> Normal:
        own = self.normal or self.clip.normal
        return own if self.proxy is None else own.beside(self.proxy.normal)


def _last(dino: DinoModel) -> Reading:
    """What a proxy reads."""
    return Reading(Facet.TOKEN, dino.layers - 1)


def clip_and_proxy(models: Sequence[Loaded]) -> tuple[ClipModel, DinoModel | None]:
    """A CLIP model, and the DINO model behind it where there is one."""
    clip, *others = models
    proxy = others[0] if others else None
    if isinstance(clip, ClipModel) and (proxy is None or isinstance(proxy, DinoModel)):
        return clip, proxy
    raise TypeError(f"{' and '.join(type(each).__name__ for each in models)} make no dense features together")
