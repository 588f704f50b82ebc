"""A picture as SAM2's encoder sees it, and what the encoder makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchvision.transforms.functional as TF
from PIL.Image import Image
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from featsvc.catalog.entry import IMAGENET_MEAN, IMAGENET_STD
from featsvc.engines.networks.precision import dtype_of
from featsvc.work.results import HeightWidth

MOST_PIXELS_BETWEEN = 1 << 26
"""Pixels of a picture that has the network's width and still its own height: 800 MB."""


@dataclass(frozen=True)
class Embedding:
    """What the encoder says about one picture or crop; prompts are answered from it alone."""

    coarse: Tensor
    """1 x C x S/16 x S/16."""
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
    side = [image_size, image_size]
    # On the tensor, as upstream: Pillow's own bilinear gives other numbers.
    pixels = TF.to_tensor(picture)
    if picture.height * image_size > MOST_PIXELS_BETWEEN:
        # torch brings the width to size first; of a picture of one column that makes a thousand times its pixels.
        pixels = TF.resize(pixels, [image_size, picture.width], antialias=True)
    pixels = TF.resize(pixels, side, antialias=True)
    normal: Tensor = TF.normalize(pixels, IMAGENET_MEAN, IMAGENET_STD)
    return normal


def encoded(network: SAM2Base, pixels: Tensor, size: HeightWidth) -> Embedding:
    """The encoder's answer to 3 x S x S, as SAM2ImagePredictor.set_image computes it."""
    dtype = dtype_of(network.image_encoder)
    levels = network.forward_image(pixels[None].to(dtype))["backbone_fpn"][-network.num_feature_levels :]
    *fine, coarse = levels
    if network.directly_add_no_mem_embed:
        coarse = coarse + network.no_mem_embed.view(1, -1, 1, 1)
    return Embedding(coarse.to(dtype), tuple(each.to(dtype) for each in fine), *size)


def to_network(coords: Tensor, size: HeightWidth, image_size: int) -> Tensor:
    """Points n x 2 from pixels of a picture of this height and width to the encoder's square."""
    height, width = size
    return coords / torch.tensor([width, height], dtype=coords.dtype, device=coords.device) * image_size
