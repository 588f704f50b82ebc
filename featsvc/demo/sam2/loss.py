"""What demo-sam2 minimises in training: wrong masks, wrong predicted IoUs, and tokens that look elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from featsvc.demo.sam2.network import DecoderOutput
from featsvc.demo.sam2.prompts import TrainingPrompts

_CROSS_ENTROPY_WEIGHT = 4.0
_BEST_SHARE = 0.6
"""Weight of the best of the three masks; the rest is for all three, so that each is a whole object."""
_OUTPUT_TOKENS = 5
"""The IoU token and the four mask tokens come first in the decoder."""


@dataclass(frozen=True)
class Losses:
    """Parts of the loss, and what they were computed from, for the log."""

    mask: torch.Tensor
    iou: torch.Tensor
    true_ious: torch.Tensor
    """N x 4."""


def _mask_errors(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy and dice of every mask, for logits N x 4 x P and a soft target N x P x 1: N x 4.

    Products with the target are matrix products: written out, they cost as much as the decoder.
    """
    entropy = functional.softplus(logits).sum(dim=2) - (logits @ target)[..., 0]
    found = logits.sigmoid()
    dice = 1 - (2 * (found @ target)[..., 0] + 1) / (found.sum(dim=2) + target.sum(dim=1) + 1)
    return _CROSS_ENTROPY_WEIGHT * entropy / logits.shape[2] + dice


def _true_ious(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """IoU of every mask with the target taken at one half, N x 4."""
    found, meant = (logits > 0).float(), (target >= 0.5).float()
    both = (found @ meant)[..., 0]
    return both / (found.sum(dim=2) + meant.sum(dim=1) - both).clamp(min=1)


def losses(decoded: DecoderOutput, prompts: TrainingPrompts) -> Losses:
    """Loss of the answers, measured at twice the decoder's resolution."""
    side = 2 * decoded.logits.shape[-1]
    logits = functional.interpolate(decoded.logits, (side, side), mode="bilinear").flatten(2)
    target = prompts.at(side).flatten(2).transpose(1, 2)
    errors = _mask_errors(logits, target)
    alternatives = errors[:, 1:]
    several = _BEST_SHARE * alternatives.min(dim=1).values + (1 - _BEST_SHARE) * alternatives.mean(dim=1)
    ious = _true_ious(logits.detach(), target)
    off = decoded.ious - ious
    return Losses((errors[:, 0] + several).mean(), (off.abs() + off.square()).mean(), ious)


def elsewhere(maps: list[torch.Tensor], prompts: TrainingPrompts) -> torch.Tensor:
    """How little the output tokens look at the object: minus the log of the attention that falls on it."""
    cells = round(maps[0].shape[-1] ** 0.5)
    meant = prompts.at(cells).flatten(1)[:, None, :, None]
    on_it = torch.stack([each.mean(dim=1)[:, None, :_OUTPUT_TOKENS] @ meant for each in maps])
    return -(on_it + 1e-4).log().mean()
