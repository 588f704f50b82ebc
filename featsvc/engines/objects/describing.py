"""Objects by one descriptor: prepared beside the device, then computed on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from featsvc.engines.answers.feature_size import check_whole
from featsvc.engines.answers.mask_encoding import Bitmaps
from featsvc.engines.clip.dense_pass import clip_and_proxy
from featsvc.engines.dino.dense_pass import OnePicture
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.networks.cost import cells_of
from featsvc.engines.objects.crops import Crops
from featsvc.engines.objects.networks import (
    ClipNetwork,
    DenseInput,
    DinoNetwork,
    Network,
    named_in,
)
from featsvc.engines.objects.pooling import pooled, pooling_flop
from featsvc.engines.running.colours import Seen
from featsvc.engines.running.family import AT_ONCE, Loaded
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device
from featsvc.errors import invalid_field
from featsvc.v1.schema import ClipParams, DinoParams, ObjectDescriptor, PooledDescriptor, Squaring
from featsvc.work.operations import models_of_way
from featsvc.work.options import EngineOptions


@dataclass(frozen=True)
class ByMap:
    """Dense features of the whole picture under each mask."""

    network: Network
    prepared: DenseInput
    way: PooledDescriptor
    crops_per_object = 0

    @cached_property
    def features(self) -> Tensor:
        """The features h x w x D, computed once."""
        return self.prepared.features(self.prepared.input)

    @property
    def channels(self) -> int:
        """Of its vectors."""
        return self.network.dense_channels

    @property
    def pixels(self) -> int:
        """What the network sees at once."""
        return self.prepared.pixels

    def flop(self, objects: int) -> float:
        """What it costs, about: one pass however many objects there are, and a look at each mask."""
        return self.prepared.flop + objects * pooling_flop(self.prepared.input.geometry, self.way)

    def vectors(self, masks: Bitmaps) -> Tensor:
        """Of masks N x H x W, N x D of length 1 or 0."""
        return F.normalize(pooled(self.features, self.prepared.input.geometry, masks, self.way), dim=-1)


@dataclass(frozen=True)
class ByCrops:
    """Crops around each mask."""

    network: Network
    crops: Crops

    @property
    def crops_per_object(self) -> int:
        """Passes of the network for each object."""
        return self.crops.per_object

    @property
    def channels(self) -> int:
        """Of its vectors."""
        return self.network.channels

    @property
    def pixels(self) -> int:
        """What the network sees at once."""
        return AT_ONCE * self.network.crop_pixels

    def flop(self, objects: int) -> float:
        """What it costs, about, with the blur of the picture that stands behind all objects."""
        return objects * self.crops_per_object * self.network.crop_flop + self.crops.blur_flop

    def vectors(self, masks: Bitmaps) -> Tensor:
        """Of masks N x H x W, N x D of length 1; 0 of a mask without pixels."""
        there = np.flatnonzero([mask.any() for mask in masks])
        own, places = _each_once(masks[index] for index in there)
        seen = (self._seen(crop) for mask in own for crop in self.crops.of(mask))
        embedded: list[Tensor] = []
        while some := list(islice(seen, AT_ONCE)):
            embedded += self.network.embedded(some)
        if not embedded:
            return torch.zeros(len(masks), self.network.channels)
        every = torch.stack(embedded).view(len(own), self.crops_per_object, -1)
        vectors = self._joined(every[on_device(torch.tensor(places), every.device)])
        found = torch.zeros(len(masks), self.network.channels, device=every.device)
        found[on_device(torch.from_numpy(there), every.device)] = vectors
        return found

    def _seen(self, crop: Image) -> Seen:
        return self.network.seen(crop, self.crops.way.squaring)

    def _joined(self, embedded: Tensor) -> Tensor:
        """One vector for each object, of those of all its crops, N x crops x D."""
        way = self.crops.way
        own = embedded.view(len(embedded), way.levels, -1, embedded.shape[-1])
        if self.crops.has_both:
            own = F.normalize(
                way.masked_weight * own[:, :, :1] + (1 - way.masked_weight) * own[:, :, 1:], dim=-1
            )
        # One alone keeps its bits: they are those that the network answers for the crop by itself.
        vectors = own[:, 0, 0] if way.levels == 1 else F.normalize(own[:, :, 0].mean(dim=1), dim=-1)
        return self._with_picture(vectors) if way.with_picture else vectors

    def _with_picture(self, vectors: Tensor) -> Tensor:
        """ConceptFusion's mixture: the more an object is like the picture, the more it has of that."""
        (whole,) = self.network.embedded([self.network.seen(self.crops.picture, Squaring.NONE)])
        part = torch.softmax(vectors @ whole, dim=0)[:, None]
        return F.normalize(part * whole + (1 - part) * vectors, dim=-1)


def _each_once(masks: Iterable[Bitmaps]) -> tuple[list[Bitmaps], list[int]]:
    """The masks that differ, and which of them each is: those of several lists are often the same."""
    places: dict[bytes, int] = {}
    own: list[Bitmaps] = []
    which: list[int] = []
    for mask in masks:
        step()
        name = blake2b(np.packbits(mask).tobytes()).digest()
        if name not in places:
            places[name] = len(own)
            own.append(mask)
        which.append(places[name])
    return own, which


SMALLER = "a smaller load_size, or bin false, makes it fit"
Describing: TypeAlias = ByMap | ByCrops


def describing(
    ways: Sequence[ObjectDescriptor], models: Sequence[Loaded], picture: Image, options: EngineOptions
) -> tuple[Describing, ...]:
    """Each way of a request with its models, which are in its order; raises InvalidFields for wrong options."""
    left, known = iter(models), OnePicture()
    networks = [_network(each, list(islice(left, len(models_of_way(each))))) for each in ways]

    def by_map(index: int) -> ByMap:
        each, network = ways[index], networks[index]
        with named_in(f"objects.describe[{index}].{'clip' if each.clip is not None else 'dino'}"):
            prepared = network.dense(picture, options, known)
        check_whole(cells_of(prepared.input.geometry), network.dense_channels, SMALLER, options)
        return ByMap(network, prepared, each.pooled or PooledDescriptor())

    return tuple(
        by_map(index) if each.crop is None else ByCrops(networks[index], Crops(picture, each.crop))
        for index, each in enumerate(ways)
    )


def of_whole_boxes(each: ObjectDescriptor) -> ObjectDescriptor:
    """The same of boxes that were given, which are no masks of which SAM says a smaller one."""
    if each.crop is None:
        return each
    return each.model_copy(update={"crop": each.crop.model_copy(update={"sam_box": False})})


def _network(each: ObjectDescriptor, loaded: Sequence[Loaded]) -> Network:
    if each.clip is not None:
        clip, proxy = clip_and_proxy(loaded)
        return ClipNetwork(clip, each.clip.params or ClipParams(), each.clip.normalization, proxy)
    (dino,) = loaded
    if isinstance(dino, DinoModel) and each.dino is not None:
        return DinoNetwork(dino, each.dino.params or DinoParams())
    raise TypeError(f"{type(dino).__name__} does not describe objects so")


def check_crops(described: Sequence[Describing], objects: int, options: EngineOptions) -> None:
    """Refuses more crops than one request may have."""
    crops = objects * sum(each.crops_per_object for each in described)
    if crops > options.max_crops:
        raise invalid_field(
            "params.describe",
            f"make {crops} crops of {objects} objects, at most {options.max_crops} (--max-crops): "
            "take fewer levels or descriptors, or fewer objects",
        )
