"""CLIP and DINO as they describe objects: what they make of a whole picture, and of crops of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from featsvc.catalog.entry import IMAGENET_MEAN, IMAGENET_STD
from featsvc.engines.clip.dense import embedded
from featsvc.engines.clip.dense_pass import DensePass
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.dense_pass import DinoPass, OnePicture
from featsvc.engines.dino.features import CELLS, class_tokens
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.geometry.sizing import NetworkInput
from featsvc.engines.running.colours import Normal, Seen, coloured
from featsvc.engines.running.family import forward_each
from featsvc.engines.running.transfer import pinned
from featsvc.errors import FieldViolation, InvalidFields
from featsvc.v1.schema import ClipParams, DinoParams, Normalization, Squaring
from featsvc.work.options import EngineOptions

MOST_ELONGATED = 16
"""Length over width of a crop beyond which only its middle is brought to a network's size: it sees no more of it."""

IMAGENET = Normal(IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class DenseInput:
    """A picture on its way to dense features."""

    input: NetworkInput
    features: Callable[[NetworkInput], Tensor]
    """Features h x w x D of it, float32."""
    flop: float
    """What they cost beside what is known of the picture by then."""

    @property
    def pixels(self) -> int:
        """What the network sees."""
        return self.input.pixel_count


class Network(Protocol):
    """What describes objects."""

    @property
    def key(self) -> str:
        """Of its model."""

    @property
    def channels(self) -> int:
        """Of its vectors of crops."""

    @property
    def dense_channels(self) -> int:
        """Of its dense features."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def crop_pixels(self) -> int:
        """What it sees of a crop."""

    @property
    def crop_flop(self) -> float:
        """What a crop costs."""

    def dense(self, picture: Image, options: EngineOptions, known: OnePicture) -> DenseInput:
        """The picture for dense features, with what is known of it; raises InvalidFields where it is too large so."""

    def seen(self, crop: Image, squaring: Squaring) -> Seen:
        """A crop as the network sees it, 3 x S x S."""

    def embedded(self, crops: list[Seen]) -> list[Tensor]:
        """A vector D of length 1 for each crop."""


M = TypeVar("M", ClipModel, DinoModel)


@dataclass(frozen=True)
class OfModel(Generic[M]):
    """What CLIP and DINO have alike."""

    loaded: M

    @property
    def key(self) -> str:
        """Of its model."""
        return self.loaded.entry.key

    @property
    def channels(self) -> int:
        """Size of an embedding, or of a token."""
        return self.loaded.channels

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.loaded.device


@dataclass(frozen=True)
class ClipNetwork(OfModel[ClipModel]):
    """CLIP: vectors in the space of its texts."""

    params: ClipParams
    normalization: Normalization = Normalization.MODEL
    proxy: DinoModel | None = None
    """The model that `proxy_model` of these parameters names."""

    @property
    def dense_channels(self) -> int:
        """The same."""
        return self.loaded.channels

    @property
    def crop_pixels(self) -> int:
        """What it sees of a crop."""
        height, width = self.loaded.visual.image_size
        return int(height * width)

    @property
    def crop_flop(self) -> float:
        """What a crop costs."""
        return self.loaded.transformer.flop(self.crop_pixels // self.loaded.patch_size**2)

    def dense(self, picture: Image, options: EngineOptions, known: OnePicture) -> DenseInput:
        """The picture for dense features."""
        normal = IMAGENET if self.normalization is Normalization.IMAGENET else None
        dense = DensePass(self.loaded, self.proxy, self.params, normal=normal, picture=known)
        dense.geometry(picture, options)
        flop, ready = dense.flop(picture, options), dense.input(picture)
        flop -= dense.spared_flop(ready.geometry)
        return DenseInput(ready, lambda seen: dense.features([seen])[0], flop)

    def seen(self, crop: Image, squaring: Squaring) -> Seen:
        """A crop as the network sees it: by its own preprocessing, of a stretched one when it is a square."""
        if squaring is Squaring.STRETCH:
            size, how = (
                list(self.loaded.visual.image_size),
                InterpolationMode(self.loaded.entry.interpolation),
            )
            crop = TF.resize(crop, size, how, antialias=True)
        elif self.loaded.entry.resize_mode == "shortest":
            crop = _middle(crop)
        return Seen(self.loaded.eval_input(crop))

    def embedded(self, crops: list[Seen]) -> list[Tensor]:
        """A vector D of length 1 for each crop."""
        return embedded(crops, self.loaded)


@dataclass(frozen=True)
class DinoNetwork(OfModel[DinoModel]):
    """DINO: of crops its class token."""

    params: DinoParams

    @property
    def dense_channels(self) -> int:
        """The same, with `bin` 17 times as many."""
        return self.loaded.channels * (CELLS if self.params.bin else 1)

    @property
    def crop_pixels(self) -> int:
        """What it sees of a crop."""
        height, width = self.loaded.network.patch_embed.img_size
        return int(height * width)

    @property
    def crop_flop(self) -> float:
        """What a crop costs."""
        return self.loaded.transformer.flop(self.crop_pixels // self.loaded.entry.patch_size**2)

    def dense(self, picture: Image, options: EngineOptions, known: OnePicture) -> DenseInput:
        """The picture for dense features."""
        dense = replace(DinoPass.of(self.loaded, self.params), picture=known)
        dense.geometry(picture, options)
        flop, ready = dense.flop(picture, options), dense.input(picture)
        flop -= dense.spared_flop(ready.geometry)
        return DenseInput(ready, lambda seen: next(dense.features([seen])), flop)

    def seen(self, crop: Image, squaring: Squaring) -> Seen:
        """A crop at the size that the network was trained on: its shorter side, and then a square from the centre."""
        loaded = self.loaded
        height, width = loaded.network.patch_embed.img_size
        if squaring is Squaring.STRETCH:
            fitted = TF.resize(crop, [height, width], InterpolationMode.BICUBIC, antialias=True)
        else:
            shorter = TF.resize(_middle(crop), min(height, width), InterpolationMode.BICUBIC, antialias=True)
            fitted = TF.center_crop(shorter, [height, width])
        return Seen(pinned(coloured(fitted, loaded.normal, loaded.device), loaded.device))

    def embedded(self, crops: list[Seen]) -> list[Tensor]:
        """A vector D of length 1 for each crop."""
        loaded = self.loaded

        def forward(pixels: Tensor) -> Tensor:
            tokens = class_tokens(loaded.network, pixels, loaded.entry.position)
            return F.normalize(tokens.float(), dim=-1)

        return forward_each(crops, loaded.normal, loaded.device, forward)


def _middle(crop: Image) -> Image:
    """The middle of a crop that is very long, out of which a square is cut: resized as a whole it takes gigabytes."""
    width, height = crop.size
    most = MOST_ELONGATED * min(width, height)
    # As many pixels go at either end, so that the centre stays where it is.
    left, top = (max(0, (length - most) // 2) for length in (width, height))
    return crop.crop((left, top, width - left, height - top)) if left or top else crop


@contextmanager
def named_in(holder: str) -> Iterator[None]:
    """Within the block parameters that are wrong are named by where they stand in this message."""
    try:
        yield
    except InvalidFields as error:
        moved = (
            FieldViolation(each.field.replace("params.", f"{holder}.params.", 1), each.message)
            for each in error.violations
        )
        raise InvalidFields(tuple(moved)) from None
