"""From patch features and text embeddings to heat maps. DESIGN section 5, "Similarity"."""

from __future__ import annotations

import torch
from torch import Tensor

from featsvc.engines.results import Geometry
from featsvc.engines.upsample import axis_weights, to_pixels
from featsvc.v1.schema import ComputeSimilarityParams

BAND_ELEMENTS = 1 << 24
"""Elements of upsampled features that exist at a time, while their lengths are taken."""


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
    features: Tensor, texts: tuple[Tensor, Tensor], geometry: Geometry, params: ComputeSimilarityParams
) -> Tensor:
    """For each positive text the probability of it against all negative ones, T x h x w or T x H x W.

    A softmax over the cosine similarities with {text} and the negative texts, multiplied by `softmax` where
    that is above 0 and by 1 otherwise. Positions do not compete here.
    """
    positive, negative = texts
    lengths = _lengths(features, geometry, params).clamp(min=torch.finfo(features.dtype).tiny)
    scale = params.softmax if params.softmax > 0 else 1.0
    against = torch.full_like(lengths, -torch.inf)
    # One after the other: hundreds of negative texts need no hundreds of maps.
    for text in torch.split(negative, 1):
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
    vertical, horizontal = (each.to(features) for each in axis_weights(geometry, params.interpolation_mode))
    rows = max(1, BAND_ELEMENTS // (len(horizontal) * features.shape[-1]))
    bands = (torch.einsum("ih,hwd->iwd", band, features) for band in torch.split(vertical, rows))
    squares = (torch.einsum("jw,iwd->ijd", horizontal, band).square().sum(dim=-1) for band in bands)
    return torch.cat(list(squares)).sqrt()
