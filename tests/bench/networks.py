"""The libraries' own networks with the benchmark's weights: what the server's engines replace in them is not here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from open_clip import CLIP
from sam2.modeling.sam2_base import SAM2Base
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from featsvc.catalog import catalog, find_weights
from featsvc.engines.clip import model as clip_model
from featsvc.engines.dino import model as dino_model
from featsvc.engines.networks.checkpoint import fill, read_state
from featsvc.engines.sam2 import model as sam2_model
from featsvc.work.options import EngineOptions
from tests.bench.weights import SAM2


@cache
def clip(model: str, weights: str) -> CLIP:
    """An open_clip network."""
    entry: Any = catalog()[model]
    path = find_weights(entry, EngineOptions(weights_dir=weights, offline=True))
    network = clip_model.built(entry)
    fill(network, read_state(path), path.name)
    return network.eval().requires_grad_(False)


@cache
def tokenizer(model: str) -> Callable[[list[str]], Tensor]:
    """Its tokenizer, built once."""
    entry: Any = catalog()[model]
    return clip_model.tokenizer_of(entry)


@cache
def dino(model: str, weights: str) -> VisionTransformer:
    """A ViT of timm."""
    entry: Any = catalog()[model]
    path = find_weights(entry, EngineOptions(weights_dir=weights, offline=True))
    network = dino_model.built(entry)
    fill(network, dino_model.converted(read_state(path), network), path.name)
    return network.eval().requires_grad_(False)


@cache
def sam2(weights: Path) -> SAM2Base:
    """The SAM2 network of the benchmark."""
    entry: Any = catalog()[SAM2]
    path = find_weights(entry, EngineOptions(weights_dir=str(weights), offline=True))
    network = sam2_model.built(entry)
    fill(network, read_state(path), path.name)
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def dense(network: CLIP, pixels: Tensor) -> Tensor:
    """Dense features N x n x D as MaskCLIP takes them, on the grid that the network was trained on."""
    visual = network.visual
    tokens = visual.conv1(pixels).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(tokens), 1, -1)
    tokens = visual.ln_pre(torch.cat([first, tokens], dim=1) + visual.positional_embedding)
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        tokens = block(tokens)
    attention, inner = last.attn, last.ln_1(tokens[:, 1:])
    width = attention.embed_dim
    values = inner @ attention.in_proj_weight[-width:].T + attention.in_proj_bias[-width:]
    found: Tensor = visual.ln_post(attention.out_proj(values)) @ visual.proj
    return found
