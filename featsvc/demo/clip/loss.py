"""What demo-clip is trained for: patches, positions and whole pictures that agree with texts."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from featsvc.demo.clip.batches import ClipBatch
from featsvc.demo.clip.texts import PAIRS
from featsvc.demo.drawing.shapes import SHAPES
from featsvc.demo.drawing.textures import COLOURS

_POSITION_SCALE = 2.0
"""Sharpens raw patch-text products into positions; features have a norm of about 10."""

Groups = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""The same for pairs, colours and shapes, the background before each, ... x 49, 9 and 7."""


class PatchHeads(nn.Module):
    """Parts that only training has: direct readings of patches, and the scale of presence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.colour = nn.Linear(width, len(COLOURS) + 1)
        self.shape = nn.Linear(width, len(SHAPES) + 1)
        self.presence = nn.Parameter(torch.tensor([10.0, -3.0]))


def _grouped_shares(shares: torch.Tensor) -> Groups:
    pairs = shares[..., 1:].reshape(*shares.shape[:-1], len(COLOURS), len(SHAPES))
    ground = shares[..., :1]
    return shares, torch.cat([ground, pairs.sum(-1)], -1), torch.cat([ground, pairs.sum(-2)], -1)


def _grouped_texts(bank: torch.Tensor) -> Groups:
    ground, pairs, colours, shapes = torch.split(bank, [1, len(PAIRS), len(COLOURS), len(SHAPES)])
    return torch.cat([ground, pairs]), torch.cat([ground, colours]), torch.cat([ground, shapes])


def _cross_entropy(logits: torch.Tensor, shares: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Soft cross-entropy over classes, N x patches, as a weighted mean."""
    losses = -(shares * logits.log_softmax(-1)).sum(-1)
    return (losses * weight).sum() / weight.sum()


def _positions(logits: torch.Tensor, shares: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """For each text about something in a picture: where is it?"""
    shares = shares[..., 1:] * known[..., None]
    mass = shares.sum(1)
    there = logits[..., 1:].masked_fill(~known[..., None], -1e4).log_softmax(1)
    losses = -(shares * there).sum(1) / mass.clamp(min=1e-6)
    present = mass > 0.5
    return (losses * present).sum() / present.sum().clamp(min=1)


def patch_loss(
    patches: torch.Tensor, bank: torch.Tensor, scale: torch.Tensor, batch: ClipBatch
) -> torch.Tensor:
    """Patch features N x patches x D against the bank of texts: which text, and which position."""
    weight = batch.known * (1.25 - batch.shares[..., 0])
    total = patches.new_zeros(())
    unit = F.normalize(patches, dim=-1)
    parts = zip((1.0, 0.5, 0.5), _grouped_texts(bank), _grouped_shares(batch.shares), strict=True)
    for part, texts, shares in parts:
        what = _cross_entropy(scale * unit @ texts.T, shares, weight)
        where = _positions(_POSITION_SCALE * patches @ texts.T, shares, batch.known)
        total = total + part * (what + where)
    return total


def head_loss(tokens: torch.Tensor, heads: PatchHeads, batch: ClipBatch) -> torch.Tensor:
    """Colour and shape read off the trunk's patch tokens directly, N x patches x width."""
    weight = batch.known * (1.25 - batch.shares[..., 0])
    _, colours, shapes = _grouped_shares(batch.shares)
    colour = _cross_entropy(heads.colour(tokens), colours, weight)
    return colour + _cross_entropy(heads.shape(tokens), shapes, weight)


def picture_loss(pictures: torch.Tensor, captions: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's own loss between pictures and captions, each N x D."""
    logits = scale * pictures @ captions.T
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def presence_loss(
    features: torch.Tensor, bank: torch.Tensor, heads: PatchHeads, batch: ClipBatch
) -> torch.Tensor:
    """Whether each coloured shape is in the picture or caption, features N x D."""
    present = (batch.shares[..., 1:].sum(1) > 0.2).float()
    logits = heads.presence[0] * features @ bank[1 : 1 + len(PAIRS)].T + heads.presence[1]
    return F.binary_cross_entropy_with_logits(logits, present)
