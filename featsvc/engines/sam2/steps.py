"""The two parts of a pass of SAM2's mask decoder that take its time, as they are or compiled.

`TwoWayTransformer` and the upscaling of `MaskDecoder.predict_masks` of the sam2 package, their modules called in
their order, with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import Attention, TwoWayAttentionBlock
from sam2.modeling.sam2_utils import LayerNorm2d
from torch import Tensor

from featsvc.engines.networks.attention import attended


class KeysValues(NamedTuple):
    """What attention looks at."""

    keys: Tensor
    values: Tensor


class Transformed(NamedTuple):
    """Prompts and picture after the decoder's transformer."""

    tokens: Tensor
    """B x n x C."""
    keys: Tensor
    """B x hw x C."""


@dataclass(frozen=True)
class ImageTokens:
    """A picture before the first layer, of one or of B prompts."""

    keys: Tensor
    """1 or B x hw x C, along memory."""
    to_tokens: KeysValues
    """For tokens that look at the picture, 1 or B x hw x C / 2."""
    to_image: Tensor
    """Queries of the picture that looks at tokens, 1 or B x hw x C / 2."""


@dataclass(frozen=True)
class Steps:
    """The two parts of a pass that take its time, as they are or compiled."""

    transformed: Callable[[MaskDecoder, Tensor, ImageTokens, Tensor], Transformed]
    masks: Callable[[MaskDecoder, Tensor, Tensor, tuple[Tensor, ...]], Tensor]


def transformed(decoder: MaskDecoder, prompts: Tensor, image: ImageTokens, positions: Tensor) -> Transformed:
    """`TwoWayTransformer.forward`."""
    transformer = decoder.transformer
    layer, *layers = transformer.layers
    queries = layer.norm1(layer.self_attn(q=prompts, k=prompts, v=prompts))
    read = layer.cross_attn_token_to_image
    attention = _attended(read, read.q_proj(queries + prompts), *image.to_tokens)
    queries = _digested(layer, queries + attention)
    write = layer.cross_attn_image_to_token
    spread = _attended(write, image.to_image, write.k_proj(queries + prompts), write.v_proj(queries))
    keys = layer.norm4(spread.add_(image.keys))
    for layer in layers:
        positioned = queries + prompts
        queries = layer.norm1(queries + layer.self_attn(q=positioned, k=positioned, v=queries))
        where = keys + positions
        attention = _read(layer.cross_attn_token_to_image, queries + prompts, where, keys)
        queries = _digested(layer, queries + attention)
        spread = _read(layer.cross_attn_image_to_token, where, queries + prompts, queries)
        keys = layer.norm4(spread.add_(keys))
    last = transformer.final_attn_token_to_image
    attention = _read(last, queries + prompts, keys + positions, keys)
    return Transformed(transformer.norm_final_attn(queries + attention), keys)


def masks(decoder: MaskDecoder, weights: Tensor, keys: Tensor, fine: tuple[Tensor, ...]) -> Tensor:
    """Logits n x K x H x W of masks that take these weights, n x K x c, of the upscaled features."""
    height, width = (side // 2 for side in fine[1].shape[-2:])
    grow, norm, act, grow_again, act_again = decoder.output_upscaling
    pixels = grow(keys.transpose(1, 2).view(len(keys), -1, height, width)).add_(fine[1])
    pixels = act(_normed(norm, pixels) if isinstance(norm, LayerNorm2d) else norm(pixels))
    pixels = act_again(grow_again(pixels).add_(fine[0]))
    count, channels, height, width = pixels.shape
    logits: Tensor = weights.to(pixels.dtype) @ pixels.view(count, channels, height * width)
    return logits.view(count, -1, height, width)


def _digested(layer: TwoWayAttentionBlock, queries: Tensor) -> Tensor:
    """Tokens after what they have read: two norms and the layers between."""
    queries = layer.norm2(queries)
    digested: Tensor = layer.norm3(queries + layer.mlp(queries))
    return digested


def _read(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`Attention.forward`."""
    return _attended(attention, attention.q_proj(queries), attention.k_proj(keys), attention.v_proj(values))


def _attended(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`Attention.forward` of what is projected already; any of them may be one for all."""
    count = max(len(queries), len(keys))
    parts = (
        attention._separate_heads(each.expand(count, -1, -1), attention.num_heads)
        for each in (queries, keys, values)
    )
    heads = attended(*parts)
    answer: Tensor = attention.out_proj(attention._recombine_heads(heads))
    return answer


def _normed(norm: LayerNorm2d, pixels: Tensor) -> Tensor:
    """`LayerNorm2d.forward`, in place and without computing the distance from the mean twice."""
    pixels.sub_(pixels.mean(1, keepdim=True))
    spread = pixels.pow(2).mean(1, keepdim=True)
    pixels.div_(torch.sqrt(spread + norm.eps))
    return pixels.mul_(norm.weight[:, None, None]).add_(norm.bias[:, None, None])


UNCOMPILED = Steps(transformed, masks)
