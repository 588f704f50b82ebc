"""demo-sam2 built from its config, and its two halves as training calls them, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.modeling.sam.transformer import Attention
from sam2.modeling.sam2_base import SAM2Base

from featsvc.demo.sam2.prompts import TrainingPrompts
from featsvc.demo.training.checkpoint import CONFIGS, read_weights, weights_path

CONFIG = CONFIGS / "demo-sam2.yaml"
WEIGHTS = weights_path("demo-sam2")

MASK_PROMPT_LIMIT = 32.0
"""SAM2ImagePredictor clamps the logits that it returns to this, and they come back as mask prompts."""


_NECK_DEVIATION = 0.5
"""Two levels are added in the neck; the position code's entries have a deviation of 0.7."""


@dataclass(frozen=True)
class DecoderOutput:
    """What the decoder says about N prompts: mask 0 is the single one, 1 to 3 are the alternatives."""

    logits: torch.Tensor
    """N x 4 x h x w, a quarter of the input's side."""
    ious: torch.Tensor
    """Predicted IoU, N x 4."""


def build(config: Path = CONFIG) -> SAM2Base:
    """The network of a config, with sam2's own random weights."""
    model: SAM2Base = instantiate(OmegaConf.load(config).model)
    return model


def load(path: Path = WEIGHTS) -> SAM2Base:
    """The trained network in float32, ready to answer."""
    model = build()
    model.load_state_dict(read_weights(path))
    return model.eval()


def encoded(model: SAM2Base, images: torch.Tensor) -> list[torch.Tensor]:
    """Feature maps at strides 4, 8 and 16, as SAM2ImagePredictor.set_image_batch computes them."""
    _, features, _, sizes = model._prepare_backbone_features(model.forward_image(images))
    features[-1] = features[-1] + model.no_mem_embed
    return [each.permute(1, 2, 0).unflatten(2, size) for each, size in zip(features, sizes, strict=True)]


def decoded(
    model: SAM2Base,
    features: list[torch.Tensor],
    prompts: TrainingPrompts,
    mask_prompts: torch.Tensor | None = None,
) -> DecoderOutput:
    """Answers to the prompts; prompts of one picture follow each other. Mask prompts are N x 1 x h x w."""
    per_image, cells = len(prompts.coords) // len(features[0]), features[-1].shape[-1]
    high_0, high_1, embedding = (each.repeat_interleave(per_image, dim=0) for each in features)
    sparse, dense = model.sam_prompt_encoder((prompts.placed, prompts.labels), None, mask_prompts)
    column, row = prompts.place
    logits, ious, _, _ = model.sam_mask_decoder.predict_masks(
        image_embeddings=embedding,
        image_pe=model.sam_prompt_encoder.get_dense_pe()[..., row : row + cells, column : column + cells],
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense[..., :cells, :cells],
        repeat_image=False,
        high_res_features=[high_0, high_1],
    )
    return DecoderOutput(logits, ious)


def _token_to_image(model: SAM2Base) -> list[Attention]:
    transformer = model.sam_mask_decoder.transformer
    layers = [layer.cross_attn_token_to_image for layer in transformer.layers]
    return [*layers, transformer.final_attn_token_to_image]


@contextmanager
def recorded_attention(model: SAM2Base) -> Iterator[list[torch.Tensor]]:
    """Collects where tokens look, N x heads x tokens x cells, for every attention layer that runs."""
    maps: list[torch.Tensor] = []

    def record(layer: Attention, inputs: tuple[()], named: dict[str, torch.Tensor], _: torch.Tensor) -> None:
        queries = layer._separate_heads(layer.q_proj(named["q"]), layer.num_heads)
        keys = layer._separate_heads(layer.k_proj(named["k"]), layer.num_heads)
        maps.append((queries @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5).softmax(dim=-1))

    handles = [layer.register_forward_hook(record, with_kwargs=True) for layer in _token_to_image(model)]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def prepare(model: SAM2Base, images: torch.Tensor) -> None:
    """Gives starting weights with which a prompt's place is heard from the first step.

    Hiera has no output norm, so its features drown the position code: each level of the neck is centred and
    scaled on these pictures. Attention starts with equal query and key maps, so tokens look where they are.
    """
    for conv, output in zip(model.image_encoder.neck.convs, _neck_outputs(model, images), strict=True):
        mean = output.mean(dim=(0, 2, 3))
        scale = _NECK_DEVIATION / (output - mean[:, None, None]).std()
        conv.conv.weight *= scale
        conv.conv.bias -= mean
        conv.conv.bias *= scale
    for layer in model.sam_mask_decoder.transformer.layers:
        for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token):
            _tie(attention)
    _tie(model.sam_mask_decoder.transformer.final_attn_token_to_image)


def _neck_outputs(model: SAM2Base, images: torch.Tensor) -> list[torch.Tensor]:
    """What each 1x1 convolution of the neck gives alone, coarsest level first."""
    levels = model.image_encoder.trunk(images)
    return [conv(level) for conv, level in zip(model.image_encoder.neck.convs, levels[::-1], strict=True)]


def _tie(attention: Attention) -> None:
    attention.k_proj.load_state_dict(attention.q_proj.state_dict())
