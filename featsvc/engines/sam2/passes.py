"""How many prompts share a pass of SAM2's mask decoder, so that each has the last bits of the batch that was asked for.

A CPU is fastest with a few prompts at a time. But the last bits of a matrix product depend on its number of rows, and
which numbers agree differs between processors (and with the environment variables of MKL and oneDNN). What has one row
a prompt is therefore always computed among the rows of the whole batch (`BatchSlice`). What has as many rows a prompt
as it has tokens is tried out when a model is loaded, and so is attention, whose last bits depend on which of several
threads computes a prompt: that takes some ten milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from featsvc.engines.networks.attention import attended

FEW = (8, 16, 32)
"""Prompts in a pass on a CPU, the fastest first: more need more memory, which costs more time than it saves."""
WITH_MASKS = 16
"""At least so many where each has a mask."""
MOST = 128
"""Prompts in a pass where no fewer have the bits of more."""
TRIED = 63
"""At least so many prompts are tried: almost as many as a batch has by default, so that the last pass takes a rest."""
KEYS = 512
"""Places of a picture that attention is tried with: as many as torch's kernel takes at a time."""
PROMPT_BYTES, MASK_PROMPT_BYTES = 6144, 9728
"""What a pass takes for each prompt and place of the embedding in float32, without and with a mask: 24 and 38 MiB a
point at 64 x 64 places."""
SHARE = 0.5
"""Of a GPU's free memory for one pass: the rest is for gaps, and for what follows the pass."""
KEPT_BYTES = 1 << 30
"""Most that masks take which wait in a GPU's memory, so that it is waited for once for all of them: those of a grid of
32 x 32 points, three each, take 805 MB at 256 x 256 places in float32."""
KEPT_SHARE = 1 / 8
"""Of a GPU's free memory for them. They are there up to three times while the good ones are taken out."""
PLACES = 1024
"""Most rows a prompt of what is multiplied for each place of the picture; of so many, more change nothing."""


@dataclass(frozen=True)
class BatchSlice:
    """The batch that was asked for, and where in it the prompts of a pass begin."""

    size: int
    start: int = 0

    def rows(self, tokens: Tensor) -> Tensor:
        """Tokens of the pass, B x n x C, among zeros for the others of the batch."""
        if len(tokens) == self.size:
            return tokens
        every = tokens.new_zeros((self.size, *tokens.shape[1:]))
        every[self.start : self.start + len(tokens)] = tokens
        return every


class Pass(NamedTuple):
    """Prompts that are computed together."""

    own: slice
    """Which they are of all."""
    batch: BatchSlice


@dataclass(frozen=True)
class Passes:
    """How batches are cut for a network on its device."""

    together: int | None = None
    """Prompts in a pass; None for all of a batch."""
    exact: bool = False
    """Whether masks have the bits of the sam2 package, asked for in batches of at most MOST."""
    places: int = 0
    """Of the embedding, on a GPU: there batches are cut for want of memory, and otherwise kept whole."""

    @property
    def may_be_cut(self) -> bool:
        """Whether batches of any size may be asked for in place of one that does not fit."""
        return self.places > 0

    def fitting(self, per_batch: int, usable_bytes: int | None, with_masks: bool = False) -> int:
        """Prompts in a batch of which `per_batch` are wanted, at least one."""
        if not self.may_be_cut or usable_bytes is None:
            return per_batch
        prompt_bytes = self.places * (MASK_PROMPT_BYTES if with_masks else PROMPT_BYTES)
        return max(1, min(per_batch, int(usable_bytes * SHARE) // prompt_bytes))

    def kept_bytes(self, usable_bytes: int | None) -> int:
        """What masks may take that wait in a GPU's memory."""
        return KEPT_BYTES if usable_bytes is None else min(KEPT_BYTES, int(usable_bytes * KEPT_SHARE))

    def of(self, count: int, per_batch: int, with_masks: bool = False) -> list[Pass]:
        """The passes of so many prompts, asked for in batches of `per_batch`."""
        few = self.together
        if few is not None and with_masks:
            few = max(few, WITH_MASKS)
        passes: list[Pass] = []
        for first in range(0, count, per_batch):
            size = min(per_batch, count - first)
            cuts = [0, *([] if few is None else cut(size, few)), size]
            passes += [Pass(slice(first + a, first + b), BatchSlice(size, a)) for a, b in pairwise(cuts)]
        return passes


WHOLE_BATCHES = Passes()


def on_gpu(network: SAM2Base) -> Passes:
    """The passes for a network on a GPU."""
    height, width = network.sam_prompt_encoder.image_embedding_size
    return Passes(places=height * width)


def probed(network: SAM2Base) -> Passes:
    """The passes for a float32 network on this processor, with the threads and the switches that are set now."""
    decoder: MaskDecoder = network.sam_mask_decoder
    height, width = network.sam_prompt_encoder.image_embedding_size
    layers = {(each.in_features, each.out_features): each for each in _linear(decoder.transformer)}.values()
    tokens = 3 + decoder.num_mask_tokens + bool(decoder.pred_obj_scores)
    generator = torch.Generator().manual_seed(0)
    narrow = min(map(_weights, layers))
    # The picture's own products are those of keys and values, which are half as wide as the tokens.
    for each in layers:
        if _weights(each) == narrow and not _same(each, 2, min(PLACES, height * width), 1, generator):
            # Nothing brings sam2's bits, so what is fastest will do.
            return Passes(FEW[0])
    for few in FEW:
        size = max(TRIED, 3 * few - 1)
        if all(_same(each, size, tokens, few, generator) for each in layers) and _same_attention(
            decoder.transformer, size, tokens, few, generator
        ):
            return Passes(few, exact=True)
    return Passes(MOST, exact=True)


def _same_attention(
    transformer: TwoWayTransformer, size: int, tokens: int, few: int, generator: torch.Generator
) -> bool:
    """Whether the tokens of `size` prompts read the same bits of a picture in passes of `few`."""
    read = transformer.final_attn_token_to_image
    heads, dim = read.num_heads, read.internal_dim // read.num_heads
    queries = torch.randn(size, heads, tokens, dim, generator=generator)
    keys, values = torch.randn(2, 1, heads, KEYS, dim, generator=generator).expand(-1, size, -1, -1, -1)
    cuts = cut(size, few)
    parts = zip(*(each.tensor_split(cuts) for each in (queries, keys, values)), strict=True)
    return torch.equal(attended(queries, keys, values), torch.cat([attended(*part) for part in parts]))


def _linear(part: nn.Module) -> list[nn.Linear]:
    return [each for each in part.modules() if isinstance(each, nn.Linear)]


def _weights(layer: nn.Linear) -> int:
    return layer.in_features * layer.out_features


def _same(layer: nn.Linear, size: int, rows: int, few: int, generator: torch.Generator) -> bool:
    """Whether its products for `size` prompts of so many rows have the same bits in passes of `few`."""
    some = torch.randn(size * rows, layer.in_features, generator=generator)
    parts = some.tensor_split([place * rows for place in cut(size, few)])
    with torch.inference_mode():
        return torch.equal(layer(some), torch.cat([layer(part) for part in parts]))


def cut(count: int, together: int) -> list[int]:
    """Where to cut so many prompts; fewer than `together` are never by themselves."""
    return list(range(together, count - together + 1, together))
