"""What CLIP's image network makes of a picture: dense features in the text space, and its embedding.

The formulas are in docs/formulas.md, "CLIP".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor

from featsvc.engines.clip.last_block import at_positions
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.recipes import Incoming, Proxy, last_block, proxied
from featsvc.engines.running.colours import Seen
from featsvc.engines.running.family import forward_each
from featsvc.v1.schema import DenseRecipe

OFFSET = 0.1
"""DINO's guard against a grid one too small by rounding, which shifts the interpolation a little."""


def dense_features(
    visual: VisionTransformer, pixels: Tensor, recipe: DenseRecipe = DenseRecipe.MASKCLIP
) -> Tensor:
    """Patch features N x h x w x D, not normalised, of pictures N x 3 x H x W."""
    incoming = _incoming(visual, pixels)
    patches = last_block(visual.transformer.resblocks[-1], incoming, recipe)
    return _projected(visual, patches).view(len(pixels), *incoming.size, -1)


def proxied_features(visual: VisionTransformer, pixels: Tensor, proxy: Proxy) -> Tensor:
    """The same by ProxyCLIP on the grid of the proxy, N x h x w x D; CLIP sees zeros up to whole patches."""
    patch = int(visual.patch_size[0])
    height, width = pixels.shape[2:]
    whole = F.pad(pixels, (0, -width % patch, 0, -height % patch))
    patches = proxied(visual.transformer.resblocks[-1], _incoming(visual, whole), proxy)
    return _projected(visual, patches).view(*proxy.features.shape[:3], -1)


def _projected(visual: VisionTransformer, patches: Tensor) -> Tensor:
    """What the last block gives, N x n x width, in the space of the texts, N x n x D."""
    projected: Tensor = visual.ln_post(patches) @ visual.proj
    return projected


def image_embeddings(visual: VisionTransformer, pixels: Tensor) -> Tensor:
    """Embeddings N x D of length 1, float32, of pictures N x 3 x S x S: `CLIP.encode_image`."""
    if visual.pool_type != "tok":
        return F.normalize(visual(pixels.to(visual.conv1.weight.dtype)).float(), dim=-1)
    tokens = _incoming(visual, pixels).tokens
    first = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    pooled = visual.ln_post(at_positions(visual.transformer.resblocks[-1], tokens, first))
    embeddings: Tensor = (pooled @ visual.proj)[: len(tokens)].float()
    return F.normalize(embeddings, dim=-1)


def embedded(pictures: Sequence[Seen], loaded: ClipModel) -> list[Tensor]:
    """The same of pictures as the network sees them, D each."""

    def forward(pixels: Tensor) -> Tensor:
        if loaded.embed_pictures is None:
            return image_embeddings(loaded.visual, pixels)
        (vectors,) = loaded.embed_pictures(pixels)
        return vectors

    return forward_each(pictures, loaded.normal, loaded.device, forward)


def _incoming(visual: VisionTransformer, pixels: Tensor) -> Incoming:
    """What goes into the last block of pictures N x 3 x H x W."""
    patches = visual.conv1(pixels.to(visual.conv1.weight.dtype))
    height, width = patches.shape[2:]
    tokens = patches.flatten(2).transpose(1, 2)
    first = visual.class_embedding.to(tokens.dtype).expand(len(tokens), 1, -1)
    tokens = torch.cat([first, tokens], dim=1) + position(visual, height, width).to(tokens.dtype)
    tokens = visual.ln_pre(tokens)
    for block in visual.transformer.resblocks[:-1]:
        tokens = block(tokens)
    return Incoming(tokens, (height, width), int(visual.patch_size[0]))


def position(visual: VisionTransformer, height: int, width: int) -> Tensor:
    """Position embedding of the class token and of a height x width grid, 1 + height * width x D.

    The grid that the network was trained on keeps its own, as in DINO's code.
    """
    embedding: Tensor = visual.positional_embedding
    rows, columns = visual.grid_size
    if (height, width) == (rows, columns):
        return embedding
    grid = embedding[1:].float().view(rows, columns, -1).permute(2, 0, 1)[None]
    scale = ((height + OFFSET) / rows, (width + OFFSET) / columns)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([embedding[:1], grid[0].flatten(1).T.to(embedding.dtype)])
