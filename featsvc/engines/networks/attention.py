"""Attention of a ViT's blocks, by whichever way is fast on the device and never holds the scores of a large grid.

On a CPU it comes in steps, so that a pass over a large grid can be stopped inside a block.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featsvc.engines.networks.packed import multiplies_bfloat16
from featsvc.engines.running.interrupt import STEP_FLOP
from featsvc.engines.running.steps import step

TILE_ROWS = 256
LEAST_ROWS = 3 * TILE_ROWS
"""torch's fused kernel takes so many queries at a time where there are at least three times as many: steps of whole
tiles have the same bits as all at once."""
BLOCK_ELEMENTS = 1 << 21
"""Scores that exist at a time in the blocked way: 4 MB of bfloat16, which stay in the cache."""


def attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Values that each query attends to, all N x heads x n x dim; `mask` n x n is added to the scores."""
    if queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, keys, values, mask)
    # Compiled code takes the steps as one, whatever their number.
    if torch.compiler.is_compiling():
        as_one: Tensor = _as_one(queries, keys, values, mask)
        return as_one
    return _in_steps(queries, keys, values, mask)


def _in_steps(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    if queries.dtype is torch.bfloat16 and multiplies_bfloat16():
        return _blocked(queries, keys, values, mask)
    return _tiled(queries, keys, values, mask)


def _tiled(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """torch's fused kernel: on some heads and some queries after the others where all would take seconds."""
    count, heads, places, dim = queries.shape
    row_flop = 4 * keys.shape[2] * dim
    most = STEP_FLOP // 2 * torch.get_num_threads()
    if count * heads * places * row_flop <= most:
        return F.scaled_dot_product_attention(queries, keys, values, mask)
    # The layout in which the kernel answers.
    answer = queries.new_empty(count, places, heads, dim).transpose(1, 2)
    together = max(1, most // (places * row_flop))
    rows = max(LEAST_ROWS, most // row_flop // TILE_ROWS * TILE_ROWS)
    for item in range(count):
        for head in range(0, heads, together):
            own = (slice(item, item + 1), slice(head, head + together))
            for some in _stretches(places, rows):
                step()
                added = None if mask is None else mask[some]
                answer[*own, some] = F.scaled_dot_product_attention(
                    queries[*own, some], keys[own], values[own], added
                )
    return answer


def _stretches(places: int, rows: int) -> list[slice]:
    """All places, `rows` at a time; fewer than LEAST_ROWS at the end go with those before."""
    starts = [start for start in range(0, places, rows) if not start or places - start >= LEAST_ROWS]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], places], strict=True)]


def _blocked(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """A block of scores after the other: twice as fast as torch's fused kernel in bfloat16 on a CPU.

    That kernel multiplies tiles too small for the bfloat16 instructions: 44 against 15 ms for 12 heads of 1025 x 64.
    """
    count, (places, dim) = keys.shape[2], queries.shape[2:]
    scaled = (queries * dim**-0.5).reshape(-1, places, dim)
    across, content = keys.reshape(-1, count, dim).transpose(1, 2), values.reshape(-1, count, dim)
    heads = max(1, BLOCK_ELEMENTS // (places * count))
    rows = max(1, min(places, BLOCK_ELEMENTS // count))
    answer = torch.empty_like(scaled)
    for head in range(0, len(scaled), heads):
        own = slice(head, head + heads)
        for row in range(0, places, rows):
            step()
            some = slice(row, row + rows)
            scores = torch.bmm(scaled[own, some], across[own])
            if mask is not None:
                scores += mask[some]
            answer[own, some] = torch.bmm(scores.softmax(dim=-1), content[own])
    return answer.view_as(queries)


@torch.library.custom_op(
    "featsvc::attention_in_steps",
    mutates_args=(),
    schema="(Tensor queries, Tensor keys, Tensor values, Tensor? mask) -> Tensor",
)
def _as_one(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    return _in_steps(queries, keys, values, mask).contiguous()


@_as_one.register_fake
def _shape_of_one(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    return queries.new_empty(queries.shape)


class SelfAttention(nn.Module):
    """Takes the place of timm's Attention in a block, with the same weights."""

    def __init__(self, qkv: nn.Linear, proj: nn.Linear, heads: int) -> None:
        super().__init__()
        self.qkv = qkv
        """To queries, keys and values, one above the other, each with its heads side by side."""
        self.proj = proj
        self.num_heads = heads
        self.head_dim = qkv.out_features // (3 * heads)

    # timm types its blocks as plain modules, so what is inside them is Any.
    @classmethod
    def of(cls, theirs: Any) -> SelfAttention:
        """With the weights of theirs, which are not copied."""
        return cls(theirs.qkv, theirs.proj, theirs.num_heads)

    # timm's blocks hand over whether to look back only, which no picture's do.
    def forward(self, tokens: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Tokens N x n x D to as many; `attn_mask` n x n is added to the scores."""
        count, length, _ = tokens.shape
        parts = self.qkv(tokens).view(count, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        heads = attended(parts[0], parts[1], parts[2], attn_mask)
        answer: Tensor = self.proj(heads.transpose(1, 2).reshape(count, length, -1))
        return answer


def linear_of(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer with these weights, which are not copied."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = (nn.Parameter(each.detach(), requires_grad=False) for each in (weight, bias))
    return layer


class OpenClipAttention(SelfAttention):
    """Takes the place of the nn.MultiheadAttention in open_clip's blocks, with the same weights.

    That one has a path of its own for inference, which holds all scores: 112 against 39 ms for 12 heads of 1025 x 64 in
    float32, and seconds for eight texts in bfloat16.
    """

    @classmethod
    def of(cls, theirs: nn.MultiheadAttention) -> OpenClipAttention:
        """With the weights of theirs, which are not copied."""
        return cls(linear_of(theirs.in_proj_weight, theirs.in_proj_bias), theirs.out_proj, theirs.num_heads)

    # open_clip hands over the same tokens three times, and takes the first of two answers.
    def forward(  # type: ignore[override]
        self, tokens: Tensor, *others: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Tokens N x n x D to as many."""
        return super().forward(tokens, attn_mask), None
