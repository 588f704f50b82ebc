"""What a block of a ViT says about each patch. DESIGN section 5, "DINO descriptors"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from featsvc.catalog.entry import PositionRule
from featsvc.engines.dino_position import positioned
from featsvc.v1.schema import Facet

PROJECTIONS: Mapping[Facet, int] = {Facet.QUERY: 0, Facet.KEY: 1, Facet.VALUE: 2}
"""Place of each projection in a block's qkv."""


def descriptors(
    network: VisionTransformer, pixels: Tensor, stride: int, rule: PositionRule, read: tuple[Facet, int]
) -> Tensor:
    """Features N x h x w x D of pictures N x 3 x H x W; `read` is a facet and a block, from 0."""
    facet, layer = read
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


# timm types its blocks as plain modules, so what is inside them is Any.
def _projected(block: Any, tokens: Tensor, which: int) -> Tensor:
    """One of the block's projections N x n x D, heads folded as (dim, head) with the head fastest.

    The order is that of dino-vit-features' extractor: N x head x n x dim permuted to N x n x dim x head.
    """
    attention = block.attn
    qkv: Tensor = attention.qkv(block.norm1(tokens))
    parts = qkv.view(*qkv.shape[:2], 3, attention.num_heads, attention.head_dim)
    return parts[:, :, which].transpose(2, 3).flatten(2)
