"""demo-clip: an open_clip ViT, its tokenizer, and its dense and global paths with gradients."""

from __future__ import annotations

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import VisionTransformer

from featsvc.demo.training.checkpoint import CONFIGS, read_weights, weights_path
from featsvc.demo.training.positions import resampled

NAME = "demo-clip"
MERGES = CONFIGS / "demo-clip-merges.txt.gz"
MEAN = open_clip.OPENAI_DATASET_MEAN
STD = open_clip.OPENAI_DATASET_STD


def build() -> CLIP:
    """The untrained network, made as open_clip makes any other of its models."""
    open_clip.add_model_config(CONFIGS / f"{NAME}.json")
    return open_clip.create_model(NAME)


def tokenizer() -> SimpleTokenizer:
    """Texts to tokens, N x 32."""
    open_clip.add_model_config(CONFIGS / f"{NAME}.json")
    return open_clip.get_tokenizer(NAME, bpe_path=str(MERGES))


def load() -> CLIP:
    """The trained network as shipped, in float32."""
    model = build()
    model.load_state_dict(read_weights(weights_path(NAME)))
    return model.eval()


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Pictures N x H x W x 3 of bytes as network input N x 3 x H x W."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def trunk(visual: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    """Tokens before the last block, N x (1 + h * w) x width."""
    patches = visual.conv1(images)
    height, width = patches.shape[2:]
    tokens: torch.Tensor = patches.flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(tokens), 1, -1)
    tokens = torch.cat([first, tokens], dim=1) + resampled(visual.positional_embedding, height, width)
    tokens = visual.ln_pre(tokens)
    for block in visual.transformer.resblocks[:-1]:
        tokens = block(tokens)
    return tokens


def dense(visual: VisionTransformer, tokens: torch.Tensor) -> torch.Tensor:
    """Patch features from trunk tokens the MaskCLIP way, N x h * w x D, not normalised."""
    last = visual.transformer.resblocks[-1]
    width = tokens.shape[-1]
    weight, bias = last.attn.in_proj_weight[-width:], last.attn.in_proj_bias[-width:]
    values = last.attn.out_proj(F.linear(last.ln_1(tokens[:, 1:]), weight, bias))
    features: torch.Tensor = visual.ln_post(values) @ visual.proj
    return features


def pooled(visual: VisionTransformer, tokens: torch.Tensor) -> torch.Tensor:
    """Global features from trunk tokens, N x D, L2-normalised."""
    tokens = visual.transformer.resblocks[-1](tokens)
    return F.normalize(visual.ln_post(tokens[:, 0]) @ visual.proj, dim=-1)
