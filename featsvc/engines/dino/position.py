"""Position embeddings for grids of any size, as each network's publisher interpolates them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from featsvc.catalog.entry import PositionRule
from featsvc.errors import InvalidArgument
from featsvc.work.results import HeightWidth

OFFSET = 0.1
"""`interpolate_offset` of facebookresearch/dinov2, and the 0.1 of facebookresearch/dino: against rounding."""

Resampling = Callable[[Tensor, HeightWidth], Tensor]


def _by_factor(grid: Tensor, size: HeightWidth) -> Tensor:
    """DINO and DINOv2: bicubic by a factor a little too large, no antialias."""
    factors = tuple((new + OFFSET) / old for new, old in zip(size, grid.shape[2:], strict=True))
    return F.interpolate(grid, scale_factor=factors, mode="bicubic", align_corners=False)


def _antialiased(grid: Tensor, size: HeightWidth) -> Tensor:
    """DINOv2 with registers (`interpolate_antialias`, offset 0), and timm's resample_abs_pos_embed."""
    return F.interpolate(grid, size=size, mode="bicubic", antialias=True, align_corners=False)


RULES: Mapping[PositionRule, Resampling] = {
    "dino": _by_factor,
    "dinov2": _by_factor,
    "dinov2_reg": _antialiased,
    "timm": _antialiased,
}


def positioned(network: VisionTransformer, patches: Tensor, rule: PositionRule) -> Tensor:
    """Class, register and patch tokens N x n x D with positions added, of patches N x D x h x w."""
    prefix, grid = _split(network)
    size = (patches.shape[2], patches.shape[3])
    if size != tuple(grid.shape[2:]):
        grid = RULES[rule](grid.float(), size).to(patches.dtype)
    tokens = (patches + grid).flatten(2).transpose(1, 2)
    return torch.cat([prefix.expand(len(tokens), -1, -1), tokens], dim=1)


def _split(network: VisionTransformer) -> tuple[Tensor, Tensor]:
    """Prefix tokens with their positions 1 x p x D, and the trained grid of positions 1 x D x h x w.

    timm keeps the class token's position in the embedding, or already added to the token (`no_embed_class`).
    """
    if network.pos_embed is None or network.cls_token is None:
        raise InvalidArgument("this ViT has no class token or no position embedding")
    embedding: Tensor = network.pos_embed
    prefix: Tensor = network.cls_token
    if not network.no_embed_class:
        prefix, embedding = prefix + embedding[:, :1], embedding[:, 1:]
    if network.reg_token is not None:
        prefix = torch.cat([prefix, network.reg_token], dim=1)
    side = math.isqrt(embedding.shape[1])
    return prefix, embedding.view(1, side, side, -1).permute(0, 3, 1, 2)
