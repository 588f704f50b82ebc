"""From patch features and text embeddings to heat maps: docs/formulas.md, "Similarity"."""

from __future__ import annotations

import torch
from torch import Tensor

from featsvc.engines.geometry.upsample import axis_weights, to_pixels
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device
from featsvc.v1.schema import ComputeSimilarityParams
from featsvc.work.results import Geometry

BAND_ELEMENTS = 1 << 24
"""Elements of upsampled features that exist at a time, while their lengths are taken."""
MOST_ALONG = 512
"""Pixels along a side that are made together, of the few cells around them: all cells of a long side take minutes."""


def similarity_maps(
    features: Tensor, texts: Tensor, geometry: Geometry, params: ComputeSimilarityParams
) -> Tensor:
    """One map for each text, T x h x w or T x H x W, from features h x w x D and embeddings T x D.

    The dot product of each position with the text; then a softmax over all positions of `softmax` times it,
    if that is above 0. Pixels have upsampled features, but interpolation is linear, so the map is upsampled.
    """
    maps = _dots(features, texts, geometry, params)
    return positional_softmax(maps, params.softmax) if params.softmax > 0 else maps


def probability_maps(
    features: Tensor, positive: Tensor, negative: Tensor, geometry: Geometry, params: ComputeSimilarityParams
) -> Tensor:
    """For each positive text the probability of it against all negative ones, T x h x w or T x H x W.

    A softmax over the cosine similarities with {text} and the negative texts, multiplied by `softmax` where
    that is above 0 and by 1 otherwise. Positions do not compete here.
    """
    lengths = _lengths(features, geometry, params).clamp(min=torch.finfo(features.dtype).tiny)
    scale = params.softmax if params.softmax > 0 else 1.0
    against = torch.full_like(lengths, -torch.inf)
    # One after the other: hundreds of negative texts need no hundreds of maps.
    for text in torch.split(negative, 1):
        step()
        against = torch.logaddexp(against, scale * _dots(features, text, geometry, params)[0] / lengths)
    own = scale * _dots(features, positive, geometry, params) / lengths
    return torch.sigmoid(own - against)


def positional_softmax(maps: Tensor, scale: float) -> Tensor:
    """Softmax over the positions of each map; the maximum is taken off first, so no factor overflows.

    The factor is applied to what is left: 100000 times a dot product would lose the differences in float32.
    """
    flat = maps.flatten(1)
    flat = flat - flat.amax(dim=1, keepdim=True)
    return torch.softmax(flat * scale, dim=1).view_as(maps)


def _dots(features: Tensor, texts: Tensor, geometry: Geometry, params: ComputeSimilarityParams) -> Tensor:
    maps = torch.einsum("hwd,td->thw", features, texts)
    return maps if params.ret_patches else to_pixels(maps, geometry, params.interpolation_mode)


def _lengths(features: Tensor, geometry: Geometry, params: ComputeSimilarityParams) -> Tensor:
    """Lengths of all features, h x w or H x W; upsampled ones exist for a band of rows at a time."""
    if params.ret_patches:
        return features.square().sum(dim=-1).sqrt()
    # Here, where it costs no wait to find which of them are of any weight.
    vertical, horizontal = (
        each.to(features.dtype) for each in axis_weights(geometry, params.interpolation_mode)
    )
    width = min(len(horizontal), MOST_ALONG)
    rows = max(1, min(MOST_ALONG, BAND_ELEMENTS // (width * features.shape[-1])))
    squares: list[Tensor] = []
    for band in torch.split(vertical, rows):
        near = _near(band)
        tall = torch.einsum("ih,hwd->iwd", on_device(band[:, near], features.device), features[near])
        parts: list[Tensor] = []
        for part in torch.split(horizontal, width):
            step()
            near = _near(part)
            upsampled = torch.einsum("jw,iwd->ijd", on_device(part[:, near], tall.device), tall[:, near])
            parts.append(upsampled.square().sum(dim=-1))
        squares.append(torch.cat(parts, dim=1))
    return torch.cat(squares).sqrt()


def _near(weights: Tensor) -> slice:
    """The cells that these pixels are made of: of a long axis they are few, and all others have no weight."""
    cells = weights.any(dim=0).nonzero()
    return slice(int(cells[0]), int(cells[-1]) + 1)
