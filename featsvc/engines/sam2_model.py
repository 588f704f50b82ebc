"""Builds a SAM2 network with its weights, as sam2.build_sam does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sam2
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import LayerNorm2d
from torch import nn

from featsvc.catalog import Sam2Entry, find_weights
from featsvc.catalog.demo import CONFIGS
from featsvc.engines.checkpoint import file_identity, fill, read_state
from featsvc.engines.compiled import compile_blocks, compiled
from featsvc.engines.family import Model
from featsvc.engines.options import EngineOptions
from featsvc.engines.precision import DTYPES, lowered
from featsvc.engines.sam2_steps import PLAIN, Steps, masks, transformed

PACKAGE = Path(sam2.__file__).parent

DECODER_EXTRAS = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}
"""What build_sam2 adds by default: an unstable single mask gives way to the best of three."""


@dataclass(frozen=True)
class Sam2Model(Model[Sam2Entry, SAM2Base]):
    """A SAM2 network."""

    steps: Steps = PLAIN
    """The parts of a pass of its mask decoder, compiled if that is asked for."""

    @property
    def stops(self) -> tuple[nn.Module, ...]:
        """The encoder's blocks and neck, and what the decoder does before and after its compiled steps."""
        encoder = self.network.image_encoder
        asking = (self.network.sam_prompt_encoder, self.network.sam_mask_decoder.iou_prediction_head)
        return (*encoder.trunk.blocks, encoder.neck, *asking)

    @property
    def image_size(self) -> int:
        """Side of the square that the encoder sees, in pixels."""
        return int(self.network.image_size)

    @property
    def mask_size(self) -> int:
        """Side of low-resolution masks, in pixels."""
        return int(self.network.sam_prompt_encoder.mask_input_size[0])


def load(entry: Sam2Entry, options: EngineOptions) -> Sam2Model:
    """The network of an entry with its weights, on the device."""
    path = find_weights(entry, options)
    network = built(entry)
    fill(network, read_state(path), path.name)
    device = torch.device(options.device)
    ready = _lowered(network.eval().requires_grad_(False), DTYPES[options.precision]).to(device)
    if options.compile:
        # Every picture is squashed to one square.
        compile_blocks(ready.image_encoder.trunk.blocks, any_size=False)
    # The transformer's products gain nothing from a compiler on a CPU, where it took 1.14 of the time.
    steps = Steps(transformed, compiled(masks)) if options.compile else PLAIN
    return Sam2Model(entry, ready, device, file_identity(path), steps)


def _lowered(network: SAM2Base, dtype: torch.dtype) -> SAM2Base:
    """The network with what takes its time in `dtype`; prompts, predicted IoU and the weights of masks stay float32."""
    decoder = network.sam_mask_decoder
    fine = (decoder.conv_s0, decoder.conv_s1)
    for part in (network.image_encoder, *fine, decoder.transformer, decoder.output_upscaling):
        lowered(part, dtype, (LayerNorm2d,))
    return network


def built(entry: Sam2Entry) -> SAM2Base:
    """The network with random weights."""
    folder = CONFIGS if entry.weights.bundled else PACKAGE
    config = OmegaConf.load(folder / entry.config)
    extras = DictConfig({"model": {"sam_mask_decoder_extra_args": DECODER_EXTRAS}})
    network: SAM2Base = instantiate(OmegaConf.merge(config, extras).model, _recursive_=True)
    return network
