"""Makes random SAM2 weights a fair load for automatic masks.

With random weights no mask passes the predicted IoU of 0.8, all masks are noise as large as the picture, and the
whole part after the mask decoder would have nothing to do. So these are set, in closed form and for all sides alike:

1. Upsampling: the 2x2 kernels of the transposed convolutions have one value, for trained ones draw no chequerboard.
2. Attention from image to tokens in the last layer: by likeness of positions, so that a place near the prompt differs;
   and little of the fine levels, which carry texture into every mask.
3. Bias of the mask hypernetworks: least squares to discs around the prompt, of another radius for each mask.
4. Scale of the same: half of the masks that pass the predicted IoU are stable.
5. Scale and bias of the head of predicted IoU: a third of the candidates pass 0.8.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from PIL import Image
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from featsvc.engines.sam2.decoder import LowRes, decode
from featsvc.engines.sam2.embedding import Embedding, encoded, encoder_input
from featsvc.engines.sam2.prompts import Prompts
from tests.bench.pictures import scene

WIDTH, HEIGHT = 1800, 1200
POINTS = 6
PASS_IOU, PASS_STABILITY = 1 / 3, 1 / 2
THRESHOLD = math.log(0.8 / 0.2)
"""The logit of a predicted IoU of 0.8."""
SPREAD = 0.5
"""Standard deviation of the logits of predicted IoU."""
MATCH = 12.0
"""Logit of attention between a place and a prompt at that place."""
FINE = 0.03
"""What is left of the fine levels."""
RADII = (0.12, 0.1, 0.13, 0.18)
"""Of the discs of each mask token, as parts of the picture's side."""


@torch.inference_mode()
def calibrate(network: SAM2Base) -> dict[str, float]:
    """Changes the heads in place; what was found."""
    decoder = network.sam_mask_decoder
    for layer in (decoder.output_upscaling[0], decoder.output_upscaling[3]):
        layer.weight.copy_(layer.weight.mean((2, 3), keepdim=True).expand_as(layer.weight))
    for fine in (decoder.conv_s0, decoder.conv_s1):
        _scale(fine, FINE)
    embedding = encoded(network, encoder_input(_picture(), network.image_size), (HEIGHT, WIDTH))
    _attend_by_position(network, embedding)
    _draw_discs(network, embedding)
    answers = _answers(network, embedding)
    quality = torch.logit(answers.ious.double()).flatten()  # float64 for the sigmoid's flat ends
    scale, head = SPREAD / float(quality.std()), decoder.iou_prediction_head.layers[-1]
    least = float(quality.quantile(1 - PASS_IOU))
    _scale(head, scale)
    head.bias += THRESHOLD - scale * least
    passed = answers.logits.flatten(0, 1)[quality > least]
    factor = _stable_factor(passed)
    for each in decoder.output_hypernetworks_mlps:
        _scale(each.layers[-1], factor)
    return {
        "passed_iou": len(passed) / quality.numel(),
        "passed_stability": float((_stability(passed * factor) >= 0.95).float().mean()),
        "mean_area": float((passed > 0).float().mean()),
        "mask_scale": factor,
    }


def _picture() -> Image.Image:
    return Image.fromarray(scene(WIDTH, HEIGHT))


def _points(network: SAM2Base) -> Tensor:
    """A grid of points in pixels of the network's square, n x 2."""
    steps = (torch.arange(POINTS) + 0.5) / POINTS * network.image_size
    return torch.cartesian_prod(steps, steps)


def _answers(network: SAM2Base, embedding: Embedding) -> LowRes:
    """Three masks for each point of the grid."""
    points = _points(network)[:, None]
    labels = torch.ones(len(points), 1, dtype=torch.int32)
    return decode(network, embedding, Prompts(points, labels, None), multimask=True)


def _attend_by_position(network: SAM2Base, embedding: Embedding) -> None:
    """Queries and keys through one map in which positions count and contents hardly do: whitened by the contents."""
    attention = network.sam_mask_decoder.transformer.layers[-1].cross_attn_image_to_token
    seen: list[dict[str, Tensor]] = []
    hook = attention.register_forward_pre_hook(lambda _, __, named: seen.append(named), with_kwargs=True)
    _answers(network, embedding)
    hook.remove()
    places = network.sam_prompt_encoder.get_dense_pe().flatten(2)[0].T.double()
    contents = torch.cat([(seen[0]["q"][0].double() - places), seen[0]["v"].flatten(0, 1).double()])
    moment = contents.T @ contents / len(contents) + 0.05 * torch.eye(places.shape[1])
    values, vectors = torch.linalg.eigh(moment)
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    spread = whiten @ (places - places.mean(0)).T
    directions = torch.linalg.svd(spread, full_matrices=False).U[:, : attention.q_proj.weight.shape[0]]
    mix = nn.init.orthogonal_(
        torch.empty(2 * [directions.shape[1]]), generator=torch.Generator().manual_seed(1)
    )
    rows = mix.double() @ directions.T @ whiten
    match = float((rows @ places.T).square().sum(0).mean()) / attention.num_heads
    gain = math.sqrt(MATCH * math.sqrt(rows.shape[0] / attention.num_heads) / match)
    for layer in (attention.q_proj, attention.k_proj):
        layer.weight.copy_(gain * rows)
        layer.bias.copy_(-gain * (rows @ places.mean(0)))
    _scale(attention.out_proj, 40.0)


def _draw_discs(network: SAM2Base, embedding: Embedding) -> None:
    """The bias that comes nearest to discs around the prompts, over all points of the grid."""
    decoder = network.sam_mask_decoder
    seen: list[Tensor] = []
    hook = decoder.output_upscaling[4].register_forward_hook(lambda _, __, out: seen.append(out))
    _answers(network, embedding)
    hook.remove()
    features = seen[0][:, :, ::4, ::4]  # n x c x h x w
    channels, side = features.shape[1:3]
    place = (torch.arange(side) + 0.5) / side
    centre = _points(network) / network.image_size
    distance = ((place[None, :, None] - centre[:, 1, None, None]) ** 2
                + (place[None, None, :] - centre[:, 0, None, None]) ** 2).sqrt()  # fmt: skip
    columns = features.permute(0, 2, 3, 1).reshape(-1, channels).double()
    for radius, each in zip(RADII, decoder.output_hypernetworks_mlps, strict=True):
        target = torch.tanh((radius - distance) / 0.04).reshape(-1, 1).double()
        weight = 1 + 10 * (distance < 2 * radius).reshape(-1, 1).double()
        found = torch.linalg.lstsq(columns * weight, target * weight).solution[:, 0]
        last = each.layers[-1]
        last.weight *= 0.1 * float(found.norm()) / float(last.weight.norm())
        last.bias.copy_(found.float())


def _scale(layer: Any, factor: float) -> None:  # Any: torch has no class of all that have weights
    layer.weight *= factor
    layer.bias *= factor


def _stability(logits: Tensor) -> Tensor:
    """IoU of each mask at thresholds of 1 and -1."""
    inner, outer = ((logits > threshold).flatten(1).sum(1) for threshold in (1, -1))
    return inner / outer.clamp(min=1)


def _stable_factor(logits: Tensor) -> float:
    """The scale of the logits at which the wanted part of the masks is stable, by bisection."""
    low, high = 1e-3, 1e6
    for _ in range(40):
        middle = math.sqrt(low * high)
        if float((_stability(logits * middle) >= 0.95).float().mean()) < PASS_STABILITY:
            low = middle
        else:
            high = middle
    return high
