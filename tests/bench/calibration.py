"""Makes random SAM2 weights a fair load for automatic masks.

With random weights no mask passes the predicted IoU of 0.8, and the whole part after the mask decoder would
have nothing to do. So the last layer of the IoU head gets the scale and bias that let a third of the
candidates of the benchmark's picture pass, and the last layers of the mask hypernetworks the scale at which half of
those pass the stability test. Nothing else is touched, and all sides run these same weights.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from featsvc.engines.sam2_decoder import LowRes, decode
from featsvc.engines.sam2_embedding import encoded, encoder_input
from featsvc.engines.sam2_prompts import Prompts
from tests.bench.pictures import scene

WIDTH, HEIGHT = 1800, 1200
POINTS = 8
PASS_IOU = 1 / 3
PASS_STABILITY = 1 / 2
THRESHOLD = math.log(0.8 / 0.2)
"""The logit of a predicted IoU of 0.8."""
SPREAD = 0.5
"""Standard deviation of the logits of predicted IoU."""


@torch.inference_mode()
def calibrate(network: SAM2Base) -> dict[str, float]:
    """Changes the heads in place; what was found."""
    head = network.sam_mask_decoder.iou_prediction_head.layers[-1]
    _scale(head, 1e3)  # only the order counts here, and float32 must not round it away
    _scale(head, 1e-3)
    ious = _logit(_answers(network).ious.double()).flatten()
    _scale(head, SPREAD / float(ious.std()))
    shifted = _logit(_answers(network).ious.double()).flatten()
    head.bias += THRESHOLD - float(shifted.quantile(1 - PASS_IOU))
    answers = _answers(network)
    logits = answers.logits.flatten(0, 1)[answers.ious.flatten() > 0.8]
    factor = _stable_factor(logits)
    for each in network.sam_mask_decoder.output_hypernetworks_mlps:
        _scale(each.layers[-1], factor)
    stable = float((_stability(logits * factor) >= 0.95).float().mean())
    passed = len(logits) / answers.ious.numel()
    return {"mask_scale": factor, "passed_iou": passed, "passed_stability": stable}


def _answers(network: SAM2Base) -> LowRes:
    """Three masks for each point of a grid over the picture."""
    picture = Image.fromarray(scene(WIDTH, HEIGHT))
    embedding = encoded(network, encoder_input(picture, network.image_size), (HEIGHT, WIDTH))
    steps = (torch.arange(POINTS) + 0.5) / POINTS * network.image_size
    points = torch.cartesian_prod(steps, steps)[:, None]
    labels = torch.ones(len(points), 1, dtype=torch.int32)
    return decode(network, embedding, Prompts(points, labels, None), multimask=True)


def _scale(layer: torch.nn.Module, factor: float) -> None:
    layer.weight *= factor
    layer.bias *= factor


def _logit(values: Tensor) -> Tensor:
    return torch.logit(values)


def _stability(logits: Tensor) -> Tensor:
    """IoU of each mask at thresholds of 1 and -1."""
    inner = (logits > 1).flatten(1).sum(1)
    outer = (logits > -1).flatten(1).sum(1)
    return inner / outer.clamp(min=1)


def _stable_factor(logits: Tensor) -> float:
    """The scale of the logits at which the wanted part of the masks is stable, by bisection."""
    low, high = 1e-3, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        if float((_stability(logits * middle) >= 0.95).float().mean()) < PASS_STABILITY:
            low = middle
        else:
            high = middle
    return high
