"""A picture as SAM2's encoder sees it, and what the encoder makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torchvision.transforms.functional as TF
from PIL.Image import Image
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from featsvc.catalog.entry import IMAGENET_MEAN, IMAGENET_STD
from featsvc.engines.geometry.resizing import MOST_SENT
from featsvc.engines.networks.graphs import Graphed
from featsvc.engines.networks.precision import dtype_of
from featsvc.engines.running.colours import LARGEST_BYTE, Normal, normalise
from featsvc.work.results import HeightWidth

MOST_PIXELS_BETWEEN = 1 << 26
"""Pixels of a picture that has the network's width and still its own height: 800 MB."""
NORMAL = Normal(IMAGENET_MEAN, IMAGENET_STD)
MOST_TIMES = 32
"""How many times the square's side a side of it may have: what CUDA's kernel weighs has room in 48 KB up to some 90."""


@dataclass(frozen=True)
class Embedding:
    """What the encoder says about one picture or crop; prompts are answered from it alone."""

    coarse: Tensor
    """1 x C x S/16 x S/16; of several pictures, B x …."""
    fine: tuple[Tensor, ...]
    """The levels S/4 and S/8, 1 x c x h x w each."""
    height: int
    width: int
    orientation: int = 1
    """How the file says that its picture is to be shown, as EXIF counts."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(each.untyped_storage().nbytes() for each in (self.coarse, *self.fine))


def encoder_input(picture: Image, image_size: int) -> Tensor:
    """3 x S x S, squashed to a square and normalised as sam2.utils.transforms.SAM2Transforms does."""
    # On the tensor, as upstream: Pillow's own bilinear gives other numbers.
    pixels = TF.to_tensor(picture)
    if picture.height * image_size > MOST_PIXELS_BETWEEN:
        # torch brings the width to size first; of a picture of one column that makes a thousand times its pixels.
        pixels = TF.resize(pixels, [image_size, picture.width], antialias=True)
    normal: Tensor = TF.normalize(_squashed(pixels, image_size), IMAGENET_MEAN, IMAGENET_STD)
    return normal


def sent(
    picture: Image,
    image_size: int,
    device: torch.device,
    whole: Callable[[Image], Tensor | None] = TF.pil_to_tensor,
) -> Tensor:
    """What a device is given of a picture: its bytes 3 x H x W, for `seen`; on a CPU, or of one too large, its input.

    Its input too where `whole` gives no bytes.

    A CPU takes 41 ms for the input of 1920 x 1080 pixels, and 2 ms for their bytes.
    """
    is_small = picture.width * picture.height <= MOST_SENT and max(picture.size) <= MOST_TIMES * image_size
    pixels = whole(picture) if is_small and device.type != "cpu" else None
    return encoder_input(picture, image_size) if pixels is None else pixels


def seen(pixels: Tensor, image_size: int) -> Tensor:
    """1 x 3 x S x S of what was sent, on its device: by the same operators as on a CPU.

    A GPU's last digits are its own: before they are normalised values differ by 1e-4 at most, a fortieth of a step.
    """
    if pixels.is_floating_point():
        return pixels[None]
    square = _squashed(pixels.to(torch.float32).div_(LARGEST_BYTE), image_size)[None]
    normalise(square, NORMAL)
    return square


def _squashed(pixels: Tensor, image_size: int) -> Tensor:
    """Values 3 x H x W as a square."""
    # Without a copy where it is one already, and then `pixels` are nobody else's.
    square: Tensor = TF.resize(pixels, [image_size, image_size], antialias=True)
    return square


def encoded(network: SAM2Base, pixels: Tensor, size: HeightWidth) -> Embedding:
    """The encoder's answer to 3 x S x S, as SAM2ImagePredictor.set_image computes it."""
    return encoded_together(network, pixels[None], [size])[0]


def encoded_together(
    network: SAM2Base, pixels: Tensor, sizes: Sequence[HeightWidth], encode: Graphed | None = None
) -> list[Embedding]:
    """The encoder's answers to N x 3 x S x S, in one pass; by `encode` where there are graphs of it."""
    every = levels(network, pixels) if encode is None else encode(pixels)
    if len(sizes) == 1:
        return [Embedding(every[0], every[1:], *sizes[0])]
    # Copies, for one that is kept must not keep the others.
    parts = zip(*(torch.split(each, 1) for each in every), strict=True)
    return [
        Embedding(own.clone(), tuple(each.clone() for each in others), *size)
        for (own, *others), size in zip(parts, sizes, strict=True)
    ]


def levels(network: SAM2Base, pixels: Tensor) -> tuple[Tensor, ...]:
    """What the encoder makes of N x 3 x S x S: the coarse level and then the fine ones, as an `Embedding` has them."""
    dtype = dtype_of(network.image_encoder)
    *fine, coarse = network.forward_image(pixels.to(dtype))["backbone_fpn"][-network.num_feature_levels :]
    if network.directly_add_no_mem_embed:
        coarse = coarse + network.no_mem_embed.view(1, -1, 1, 1)
    return tuple(each.to(dtype) for each in (coarse, *fine))


def stacked(embeddings: Sequence[Embedding]) -> Embedding:
    """Embeddings of several pictures, for one prompt about each; their sizes are the first's."""
    first = embeddings[0]
    if all(each is first for each in embeddings):
        return first
    return replace(
        first,
        coarse=torch.cat([each.coarse for each in embeddings]),
        fine=tuple(torch.cat(levels) for levels in zip(*(each.fine for each in embeddings), strict=True)),
    )


def to_network(coords: Tensor, size: HeightWidth, image_size: int) -> Tensor:
    """Points n x 2 from pixels of a picture of this height and width to the encoder's square."""
    height, width = size
    return coords / torch.tensor([width, height], dtype=coords.dtype, device=coords.device) * image_size
