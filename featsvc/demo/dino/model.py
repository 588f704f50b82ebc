"""demo-dino: a timm DINOv2-type ViT."""

from __future__ import annotations

import json
from typing import cast

import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from featsvc.demo.training.checkpoint import CONFIGS, read_weights, weights_path
from featsvc.demo.training.positions import resampled

NAME = "demo-dino"
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def build() -> VisionTransformer:
    """The untrained network, made as timm makes any other of its models."""
    options = json.loads((CONFIGS / f"{NAME}.json").read_text())
    # timm's own annotation says no more than Module.
    return cast(VisionTransformer, timm.create_model(**options))


def load() -> VisionTransformer:
    """The trained network as shipped, in float32."""
    model = build()
    model.load_state_dict(read_weights(weights_path(NAME)))
    return model.eval()


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Pictures N x H x W x 3 of bytes as network input N x 3 x H x W."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def patch_tokens(model: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    """Facet 'token' of the last block, before the final norm, N x h * w x D."""
    patches = model.patch_embed.proj(images)
    height, width = patches.shape[2:]
    tokens: torch.Tensor = patches.flatten(2).transpose(1, 2)
    first = model.get_parameter("cls_token").expand(len(tokens), -1, -1)
    position = resampled(model.get_parameter("pos_embed")[0], height, width)
    tokens = torch.cat([first, tokens], dim=1) + position
    for block in model.blocks:
        tokens = block(tokens)
    return tokens[:, 1:]
