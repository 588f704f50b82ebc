"""What the last block of CLIP's image network does for dense features: docs/formulas.md, "Dense features"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from featsvc.engines.clip.last_block import LastAttention
from featsvc.engines.geometry.sampling import regridded
from featsvc.engines.geometry.sizing import Grid
from featsvc.engines.networks.attention import attended
from featsvc.engines.running.products import unrounded
from featsvc.engines.running.steps import step
from featsvc.v1.schema import DenseRecipe
from featsvc.work.results import HeightWidth

DEVIATION = 5.0
"""Of the nearness that NACLIP adds to its scores, in cells."""
MASK_ELEMENTS = 1 << 24
"""Elements of that nearness that exist at a time."""
BETA, GAMMA = 1.2, 3.0
"""ProxyCLIP's: what is less alike than BETA times the mean is not attended to, and GAMMA sharpens the rest."""
SCORE_ELEMENTS = 1 << 22
"""Scores of ProxyCLIP that exist at a time: 16 MB."""


class Incoming(NamedTuple):
    """What goes into the last block."""

    tokens: Tensor
    """N x 1 + h * w x width, the class token first."""
    size: HeightWidth
    """Of the grid, in cells."""
    patch: int
    """Side of a cell, in pixels."""


class Proxy(NamedTuple):
    """What another network knows of the same picture."""

    features: Tensor
    """N x h x w x C, of its own grid."""
    patch: int
    """Side of a cell of that, in pixels."""


def last_block(block: ResidualAttentionBlock, incoming: Incoming, recipe: DenseRecipe) -> Tensor:
    """What a block with LastAttention makes of the patches, N x h * w x width."""
    return RECIPES[recipe](block, incoming)


def _maskclip(block: ResidualAttentionBlock, incoming: Incoming) -> Tensor:
    """What attention would carry from each position: no attention, no residual, no MLP."""
    attention: LastAttention = block.attn
    projected: Tensor = attention.proj(attention.values(block.ln_1(incoming.tokens[:, 1:])))
    return projected


def _sclip(block: ResidualAttentionBlock, incoming: Incoming) -> Tensor:
    """Queries attend to queries, and keys to keys; then the block as it is."""
    attention, normed = block.attn, block.ln_1(incoming.tokens)
    values = attention.heads(attention.values(normed))
    carried = sum(
        _to_itself(attention.heads(part(normed)), values) for part in (attention.queries, attention.keys)
    )
    own = incoming.tokens[:, 1:] + block.ls_1(attention.joined(carried))
    answer: Tensor = own + block.ls_2(block.mlp(block.ln_2(own)))
    return answer


def _clearclip(block: ResidualAttentionBlock, incoming: Incoming) -> Tensor:
    """Queries attend to queries: no residual, no MLP."""
    attention, normed = block.attn, block.ln_1(incoming.tokens)
    values = attention.heads(attention.values(normed))
    joined: Tensor = attention.joined(_to_itself(attention.heads(attention.queries(normed)), values))
    return joined


def _to_itself(part: Tensor, values: Tensor) -> Tensor:
    """What each patch gets whose own projection is compared with those of all tokens, N x heads x h * w x dim."""
    return attended(part[:, :, 1:], part, values)


def _naclip(block: ResidualAttentionBlock, incoming: Incoming) -> Tensor:
    """Keys attend to keys, with the nearness of both patches added to the score: no residual, no MLP."""
    attention, normed = block.attn, block.ln_1(incoming.tokens)
    keys, values = (attention.heads(part(normed)) for part in (attention.keys, attention.values))
    height, width = incoming.size
    vertical, horizontal = (_nearness(length, keys) for length in incoming.size)
    places = torch.arange(height * width, device=keys.device)
    carried = []
    # All of a large grid would take as much memory as its scores.
    for some in torch.split(places, max(1, MASK_ELEMENTS // (height * width))):
        step()
        near = vertical[some // width, :, None] * horizontal[some % width, None, :]
        # The class token is near to none.
        mask = F.pad(near.flatten(1), (1, 0)).to(keys.dtype)
        carried.append(attended(keys[:, :, some + 1], keys, values, mask))
    joined: Tensor = attention.joined(torch.cat(carried, dim=2))
    return joined


def _nearness(length: int, like: Tensor) -> Tensor:
    """exp(-d² / 2 DEVIATION²) for the distance d of each pair of cells along an axis, float32."""
    cells = torch.arange(length, device=like.device, dtype=torch.float32)
    return torch.exp(-(cells[:, None] - cells).square() / (2 * DEVIATION**2))


def proxied(block: ResidualAttentionBlock, incoming: Incoming, proxy: Proxy) -> Tensor:
    """What a block with LastAttention makes of the cells of the proxy, N x h * w x width.

    Each attends to those whose features are like its own, and carries what CLIP's patches have at their places: no
    residual, no MLP. All heads do the same.
    """
    attention: LastAttention = block.attn
    values = attention.values(block.ln_1(incoming.tokens[:, 1:])).float()
    maps = values.view(len(values), *incoming.size, -1)
    size = (proxy.features.shape[1], proxy.features.shape[2])
    there = regridded(maps, Grid.of_patches(incoming.patch), size, Grid.of_patches(proxy.patch))
    carried = _of_alike(F.normalize(proxy.features.float().flatten(1, 2), dim=-1), there.flatten(1, 2))
    projected: Tensor = attention.proj(carried.to(incoming.tokens.dtype))
    return projected


def _of_alike(features: Tensor, values: Tensor) -> Tensor:
    """Values N x n x D that each cell attends to, by features N x n x C of length 1."""
    count, cells, _ = features.shape
    # Of all their cosines together, which are never all here.
    mean = features.mean(dim=1).square().sum(dim=-1)[:, None, None]
    across, carried = features.transpose(1, 2), torch.empty_like(values)
    rows = max(1, SCORE_ELEMENTS // (count * cells))
    for first in range(0, cells, rows):
        step()
        some = slice(first, first + rows)
        with unrounded():
            scores = (features[:, some] @ across).sub_(BETA * mean).mul_(GAMMA)
            # None is more like a cell than itself: where that is not enough either, it keeps its own.
            scores.diagonal(first, 1, 2).clamp_(min=0)
            weights = scores.masked_fill_(scores < 0, -torch.inf).softmax(dim=-1)
            carried[:, some] = weights @ values
    return carried


RECIPES: Mapping[DenseRecipe, Callable[[ResidualAttentionBlock, Incoming], Tensor]] = {
    DenseRecipe.MASKCLIP: _maskclip,
    DenseRecipe.SCLIP: _sclip,
    DenseRecipe.CLEARCLIP: _clearclip,
    DenseRecipe.NACLIP: _naclip,
}
