"""What a block of a ViT says about each patch, and about its neighbours: docs/formulas.md, "DINO"."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from featsvc.catalog.entry import PositionRule
from featsvc.engines.dino.position import positioned
from featsvc.engines.running.steps import step
from featsvc.v1.schema import Facet

PROJECTIONS: Mapping[Facet, int] = {Facet.QUERY: 0, Facet.KEY: 1, Facet.VALUE: 2}
"""Place of each projection in a block's qkv."""
RINGS = 2
CELLS = 1 + 8 * RINGS


class Reading(NamedTuple):
    """What is read of which block."""

    facet: Facet
    layer: int
    """From 0."""


def descriptors(
    network: VisionTransformer, pixels: Tensor, stride: int, rule: PositionRule, reading: Reading
) -> Tensor:
    """Features N x h x w x D of pictures N x 3 x H x W."""
    facet, layer = reading
    convolution = network.patch_embed.proj
    patches = F.conv2d(
        pixels.to(convolution.weight.dtype), convolution.weight, convolution.bias, stride=stride
    )
    tokens = network.norm_pre(positioned(network, patches, rule))
    for block in network.blocks[:layer]:
        tokens = block(tokens)
    last = network.blocks[layer]
    tokens = last(tokens) if facet is Facet.TOKEN else _projected(last, tokens, PROJECTIONS[facet])
    tokens = tokens[:, network.num_prefix_tokens :]
    return tokens.reshape(len(pixels), *patches.shape[2:], -1)


def class_tokens(network: VisionTransformer, pixels: Tensor, rule: PositionRule) -> Tensor:
    """The class token N x D behind the last norm, of pictures N x 3 x H x W: what each whole picture is."""
    patches = network.patch_embed.proj(pixels.to(network.patch_embed.proj.weight.dtype))
    tokens = network.norm_pre(positioned(network, patches, rule))
    for block in network.blocks:
        tokens = block(tokens)
    normed: Tensor = network.norm(tokens[:, :1])
    return normed[:, 0]


# timm types its blocks as plain modules, so what is inside them is Any.
def _projected(block: Any, tokens: Tensor, which: int) -> Tensor:
    """One of the block's projections N x n x D, heads folded as (dim, head) with the head fastest.

    The order is that of dino-vit-features' extractor: N x head x n x dim permuted to N x n x dim x head.
    """
    attention = block.attn
    qkv: Tensor = attention.qkv(block.norm1(tokens))
    parts = qkv.view(*qkv.shape[:2], 3, attention.num_heads, attention.head_dim)
    return parts[:, :, which].transpose(2, 3).flatten(2)


def log_binned(features: Tensor) -> Tensor:
    """17 cells for each position, h x w x D to h x w x 17D.

    Cells 0 to 8 are the 3 x 3 neighbours row by row, the centre included; 9 to 16 the eight at distance 3,
    row by row, of the 3 x 3 average, in whose mean the outside has no part. Beyond the border the nearest
    cell inside stands.
    """
    height, width, channels = features.shape
    maps = features.permute(2, 0, 1)[None]
    binned = features.new_empty(height, width, CELLS, channels)
    cell = 0
    for ring in range(RINGS):
        distance = 3**ring
        averaged = F.avg_pool2d(maps, distance, stride=1, padding=distance // 2, count_include_pad=False)
        rows = _neighbours(height, distance, features.device)
        columns = _neighbours(width, distance, features.device)
        for i, j in product(range(3), range(3)):
            if ring and (i, j) == (1, 1):
                continue
            step()
            binned[:, :, cell] = averaged[0][:, rows[i]][:, :, columns[j]].permute(1, 2, 0)
            cell += 1
    return binned.flatten(2)


def _neighbours(length: int, distance: int, device: torch.device) -> Tensor:
    """Indices before, at and after each position of an axis, clamped to it, 3 x length."""
    offsets = distance * torch.arange(-1, 2, device=device)
    return (torch.arange(length, device=device) + offsets[:, None]).clamp(0, length - 1)
