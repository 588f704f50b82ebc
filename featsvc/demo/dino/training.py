"""Trains demo-dino with the generator's masks and labels: it is supervised, unlike the real DINO."""

from __future__ import annotations

import logging
import time

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from featsvc.demo.dino import model as dino_model
from featsvc.demo.dino.batches import MIXED, DinoBatch, batch
from featsvc.demo.dino.figures import drawn, same_object_auc, token_likeness
from featsvc.demo.drawing.scene_cache import BUILD, cached
from featsvc.demo.drawing.scenes import HELD_OUT_SEED, SceneOptions
from featsvc.demo.drawing.shapes import SHAPES
from featsvc.demo.training import schedule
from featsvc.demo.training.checkpoint import weights_path, write_weights
from featsvc.demo.training.positions import sine_cosine

_LOG = logging.getLogger(__name__)

STEPS = 2000
_RATE = 8e-4
_SIZES = ((224, 14), (196, 18), (252, 11))
"""Side and number of pictures, in turn."""
_REPORT_EVERY = 100
_EVALUATE_EVERY = 250
_VALIDATION_SEED = HELD_OUT_SEED - 10_000

# How much each kind of pair counts: object with itself, with another, with the ground; ground with itself.
_WEIGHTS = (1.0, 1.0, 0.5, 0.25)


class ShapeHead(nn.Module):
    """Parts that only training has: the shape of a patch's object, and the scale of likeness."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shape = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(SHAPES) + 1))
        self.likeness = nn.Parameter(torch.tensor([8.0, -3.0]))


def pair_loss(tokens: torch.Tensor, owners: torch.Tensor, head: ShapeHead) -> torch.Tensor:
    """Patches of one owner are alike, others not: tokens N x patches x D, owners N x patches."""
    unit = F.normalize(tokens, dim=-1)
    logits = head.likeness[0] * unit @ unit.transpose(1, 2) + head.likeness[1]
    first, second = owners[:, :, None], owners[:, None, :]
    same = first == second
    losses = F.binary_cross_entropy_with_logits(logits, same.float(), reduction="none")
    known = (first != MIXED) & (second != MIXED)
    objects = (first > 0) & (second > 0)
    ground = (first == 0) & (second == 0)
    kinds = (objects & same, objects & ~same, known & ~objects & ~ground, ground)
    means = [(losses * kind).sum() / kind.sum().clamp(min=1) for kind in kinds]
    return torch.stack([part * mean for part, mean in zip(_WEIGHTS, means, strict=True)]).sum()


def loss(model: VisionTransformer, head: ShapeHead, batch: DinoBatch) -> torch.Tensor:
    """The whole loss of one batch."""
    # The kernel for flash attention is slow backwards on a CPU.
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
        tokens = dino_model.patch_tokens(model, dino_model.normalised(batch.images))
    tokens = tokens.float()
    shape = F.cross_entropy(head.shape(tokens).flatten(0, 1), batch.shapes.flatten(), ignore_index=MIXED)
    return pair_loss(tokens, batch.owners, head) + 0.3 * shape


def started() -> VisionTransformer:
    """The network before its first step: it knows where patches are, which objects are about."""
    model = dino_model.build()
    # From timm's own start, near zero, 500 steps did not bring position into the features.
    position = model.get_parameter("pos_embed")
    with torch.no_grad():
        position[0, 1:] = sine_cosine(int((position.shape[1] - 1) ** 0.5), position.shape[2])
    return model


def train(seed: int) -> None:
    """Trains from scratch and writes the shipped weights; the same seed gives the same weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 2])
    cache = cached(1_000_000 * (seed + 1) + 200_000, 5000, SceneOptions(several_colours=True))
    model = started().train()
    head = ShapeHead(model.embed_dim)
    optimizer = schedule.optimizer((model, head), _RATE)
    average = schedule.Average(model)
    validation = drawn(_VALIDATION_SEED, 50)
    began, seen = time.monotonic(), 0.0
    for step in range(STEPS):
        size, count = _SIZES[step % len(_SIZES)]
        value = loss(model, head, batch(cache, size, count, rng))
        schedule.descend(value, optimizer, schedule.rate_at(step, STEPS, _RATE))
        average.follow(model, step)
        seen += float(value.detach())
        if (step + 1) % _REPORT_EVERY == 0:
            mean, seconds = seen / _REPORT_EVERY, time.monotonic() - began
            _LOG.info("dino step %d loss %.3f %.0f s", step + 1, mean, seconds)
            seen = 0.0
        if (step + 1) % _EVALUATE_EVERY == 0:
            write_weights(average.model.state_dict(), BUILD / "demo-dino.safetensors")
            area = same_object_auc(token_likeness(average.model), validation)
            _LOG.info("dino step %d same-object AUC %.4f", step + 1, area)
    write_weights(average.model.state_dict(), weights_path(dino_model.NAME))
