"""The last block of a ViT of open_clip, of which most answers need only a part."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from featsvc.engines.networks.attention import attended, linear_of

ROWS = 8
"""Rows of a product come in multiples of this: then each has the same bits in any company, see `text.embedded`."""


class LastAttention(nn.Module):
    """Takes the place of the nn.MultiheadAttention in a last block, with the same weights, each part by itself."""

    def __init__(self, theirs: nn.MultiheadAttention) -> None:
        super().__init__()
        weights, biases = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
        self.queries, self.keys, self.values = map(linear_of, weights, biases)
        self.proj = theirs.out_proj
        self.num_heads = theirs.num_heads

    # open_clip hands over the same tokens three times, and takes the first of two answers.
    def forward(
        self, tokens: Tensor, *others: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Tokens N x n x D to as many; `attn_mask` n x n is added to the scores."""
        parts = [self.heads(part(tokens)) for part in (self.queries, self.keys, self.values)]
        return self.joined(attended(parts[0], parts[1], parts[2], attn_mask)), None

    def of_one(self, one: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """What one position of each row gets: `one` N x D of tokens N x n x D to N x D.

        `mask` N x n is added to the scores. What `one` has more rows than there are tokens is of no use.
        """
        queries = self.heads(self.queries(one)[: len(tokens), None])
        keys, values = self.heads(self.keys(tokens)), self.heads(self.values(tokens))
        # A product of one row by torch's batched kernel has other bits in other company; this one goes head by head.
        heads = F.scaled_dot_product_attention(
            queries, keys, values, None if mask is None else mask[:, None, None]
        )
        projected: Tensor = self.proj(_in_rows(heads.flatten(1)))
        return projected

    def heads(self, part: Tensor) -> Tensor:
        """N x n x D to N x heads x n x dim."""
        return part.view(*part.shape[:2], self.num_heads, -1).transpose(1, 2)

    def joined(self, heads: Tensor) -> Tensor:
        """What the heads have got, N x heads x n x dim, as the block goes on with it, N x n x D."""
        projected: Tensor = self.proj(heads.transpose(1, 2).flatten(2))
        return projected


def at_positions(
    block: ResidualAttentionBlock, tokens: Tensor, positions: Tensor, mask: Tensor | None = None
) -> Tensor:
    """What a block with LastAttention makes of one position of each row, of tokens N x n x D and positions N.

    `mask` n x n is added to the scores. The answer is N x D and then rows of no use, up to a multiple of ROWS. Without
    its other positions a last block costs a sixth: they only give keys and values.
    """
    rows = torch.arange(len(tokens), device=tokens.device)
    normed = block.ln_1(tokens)
    added = None if mask is None else mask[positions].to(tokens.dtype)
    attention = block.attn.of_one(_in_rows(normed[rows, positions]), normed, added)
    own = _in_rows(tokens[rows, positions]) + block.ls_1(attention)
    answer: Tensor = own + block.ls_2(block.mlp(block.ln_2(own)))
    return answer


def _in_rows(some: Tensor) -> Tensor:
    """With zeros below, so that there are as many rows as a product wants."""
    return F.pad(some, (0, 0, 0, -len(some) % ROWS))
