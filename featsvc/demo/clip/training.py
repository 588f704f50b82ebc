"""Trains demo-clip through the dense path that the engine uses."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict

import numpy as np
import torch
from open_clip.model import CLIP
from torch.nn.attention import SDPBackend, sdpa_kernel

from featsvc.demo.clip import model as clip_model
from featsvc.demo.clip.batches import ClipBatch, Recipe, batch
from featsvc.demo.clip.figures import evaluate_clip
from featsvc.demo.clip.loss import PatchHeads, head_loss, patch_loss, picture_loss, presence_loss
from featsvc.demo.clip.texts import bank, text_features
from featsvc.demo.drawing.scene_cache import BUILD, SceneCache, cached
from featsvc.demo.drawing.scenes import HELD_OUT_SEED, SceneOptions
from featsvc.demo.training import schedule
from featsvc.demo.training.checkpoint import weights_path, write_weights

_LOG = logging.getLogger(__name__)

STEPS = 7200
_FIRST_STEPS = 1200
_RATE = 5e-4
_REPORT_EVERY = 100
_EVALUATE_EVERY = 600
_VALIDATION_SEED = HELD_OUT_SEED - 10_000

_FIRST = (Recipe("object", 96, 64),)
# Objects at several magnifications, so that shapes are known at any load_size.
_THEN = (
    Recipe("whole", 192, 40),
    Recipe("zoomed", 192, 32),
    Recipe("whole", 256, 20),
    Recipe("object", 96, 64),
    Recipe("whole", 192, 40),
    Recipe("zoomed", 288, 10),
)


def _recipe(step: int) -> Recipe:
    table = _FIRST if step < _FIRST_STEPS else _THEN
    return table[step % len(table)]


def scenes(seed: int) -> tuple[SceneCache, ...]:
    """Ordinary scenes, and as many of few colours, where only the shape tells objects apart."""
    first = 1_000_000 * (seed + 1)
    return (
        cached(first, 6000, SceneOptions()),
        cached(first + 100_000, 6000, SceneOptions(palette=2, min_objects=2)),
    )


def loss(model: CLIP, heads: PatchHeads, batch: ClipBatch, rng: np.random.Generator) -> torch.Tensor:
    """The whole loss of one batch."""
    tokenize = clip_model.tokenizer()
    scale = model.logit_scale.exp().clamp(max=100)
    # The kernel for flash attention is slow backwards on a CPU: half of a step.
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
        texts = text_features(model, tokenize(bank(rng))).float()
        tokens = clip_model.trunk(model.visual, clip_model.normalised(batch.images))
        patches = clip_model.dense(model.visual, tokens).float()
        pictures = clip_model.pooled(model.visual, tokens).float()
        captions = text_features(model, tokenize(list(batch.captions))).float() if batch.captions else None
    total = patch_loss(patches, texts, scale, batch) + 0.5 * head_loss(tokens[:, 1:].float(), heads, batch)
    total = total + 2 * presence_loss(pictures, texts, heads, batch)
    if captions is not None:
        total = total + 0.5 * picture_loss(pictures, captions, scale)
        total = total + presence_loss(captions, texts, heads, batch)
    return total


def train(seed: int) -> None:
    """Trains from scratch and writes the shipped weights; the same seed gives the same weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    caches = scenes(seed)
    model = clip_model.build().train()
    heads = PatchHeads(model.visual.conv1.out_channels)
    optimizer = schedule.optimizer((model, heads), _RATE)
    average = schedule.Average(model)
    began, seen = time.monotonic(), 0.0
    for step in range(STEPS):
        value = loss(model, heads, batch(caches, _recipe(step), rng), rng)
        schedule.descend(value, optimizer, schedule.rate_at(step, STEPS, _RATE))
        average.follow(model, step)
        seen += float(value.detach())
        if (step + 1) % _REPORT_EVERY == 0:
            mean, seconds = seen / _REPORT_EVERY, time.monotonic() - began
            _LOG.info("clip step %d loss %.3f %.0f s", step + 1, mean, seconds)
            seen = 0.0
        if (step + 1) % _EVALUATE_EVERY == 0:
            write_weights(average.model.state_dict(), BUILD / "demo-clip.safetensors")
            figures = evaluate_clip(average.model, _VALIDATION_SEED, 150)
            _LOG.info("clip step %d %s", step + 1, asdict(figures))
    write_weights(average.model.state_dict(), weights_path(clip_model.NAME))
