"""Builds a SAM2 network with its weights, as sam2.build_sam does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
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
from featsvc.engines.networks.checkpoint import file_identity, fill, read_state
from featsvc.engines.networks.compiled import compile_blocks, compiled
from featsvc.engines.networks.cost import linear_flop
from featsvc.engines.networks.graphs import Graphed
from featsvc.engines.networks.precision import dtype_for, dtype_of, lowered, moved
from featsvc.engines.running.family import Model
from featsvc.engines.sam2.passes import FEW, WHOLE_BATCHES, Passes, on_gpu, probed
from featsvc.engines.sam2.steps import UNCOMPILED, Steps, masks, transformed
from featsvc.work.options import EngineOptions

PACKAGE = Path(sam2.__file__).parent

DECODER_EXTRAS = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}
"""What build_sam2 adds by default: an unstable single mask gives way to the best of three."""
FOR_VIDEOS = {
    "sam2.modeling.position_encoding.PositionEmbeddingSine": "torch.nn.Identity",
    "sam2.modeling.sam.transformer.RoPEAttention": "sam2.modeling.sam.transformer.Attention",
}
"""What only the memory of a video looks at, and what has the same weights and takes its place."""
ROTARY_ARGUMENTS = ("rope_theta", "rope_k_repeat", "feat_sizes")


@dataclass(frozen=True)
class Sam2Model(Model[Sam2Entry, SAM2Base]):
    """A SAM2 network."""

    steps: Steps = UNCOMPILED
    """The parts of a pass of its mask decoder, compiled if that is asked for."""
    passes: Passes = WHOLE_BATCHES
    """How many prompts share a pass of it."""
    encode: Graphed | None = None
    """`levels` of a picture, with the graph that was captured."""
    prompt: Mapping[bool, Graphed] = field(default_factory=dict)
    """Masks of one prompt by its coordinates and labels and an embedding, with the graphs that were captured.

    By whether several are wanted.
    """

    @property
    def stops(self) -> tuple[nn.Module, ...]:
        """The encoder's blocks and neck, and what the decoder does before and after its compiled steps."""
        encoder = self.network.image_encoder
        asking = (self.network.sam_prompt_encoder, self.network.sam_mask_decoder.iou_prediction_head)
        return (*encoder.trunk.blocks, encoder.neck, *asking)

    @property
    def shares_passes(self) -> bool:
        """Whether pictures of several callers, and prompts about them, are computed together.

        A CPU gains nothing by that, and what is compiled is compiled for one picture.
        """
        return self.device.type != "cpu" and self.steps is UNCOMPILED

    @cached_property
    def encoder_flop(self) -> float:
        """What encoding a picture costs, about: most layers see a grid of S/16 x S/16."""
        return float(linear_flop(self.network.image_encoder)) * (self.image_size // 16) ** 2

    @cached_property
    def prompt_flop(self) -> float:
        """What answering a prompt costs, about: of the decoder's layers, most of all MLPs, many see tokens only."""
        layers = linear_flop(self.network.sam_mask_decoder.transformer)
        return float(layers) * (self.image_size // 16) ** 2 / 4

    @property
    def image_size(self) -> int:
        """Side of the square that the encoder sees, in pixels."""
        return int(self.network.image_size)

    @property
    def embedding_elements(self) -> int:
        """Elements of a picture's embedding: C channels at S/16, C/8 at S/4 and C/4 at S/8, for a side of S pixels."""
        return 4 * int(self.network.hidden_dim) * (self.image_size // 16) ** 2

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
    ready = moved(_lowered(network.eval().requires_grad_(False), options), options)
    if options.compile:
        # Every picture is squashed to one square.
        compile_blocks(ready.image_encoder.trunk.blocks, any_size=False)
    # The transformer's products gain nothing from a compiler on a CPU, where it took 1.14 of the time.
    steps = Steps(transformed, compiled(masks)) if options.compile else UNCOMPILED
    return Sam2Model(entry, ready, device, file_identity(path), steps, passes_on(device, ready, steps))


def passes_on(device: torch.device, network: SAM2Base, steps: Steps = UNCOMPILED) -> Passes:
    """All of a batch that has memory on a GPU; a few at a time on a CPU: so many that their bits are the batch's."""
    if device.type != "cpu":
        return on_gpu(network)
    exact = steps is UNCOMPILED and dtype_of(network.image_encoder) is torch.float32
    return probed(network) if exact else Passes(FEW[0])


def _lowered(network: SAM2Base, options: EngineOptions) -> SAM2Base:
    """The network with what takes its time in `dtype`; prompts, predicted IoU and the weights of masks stay float32."""
    decoder = network.sam_mask_decoder
    fine = (decoder.conv_s0, decoder.conv_s1)
    for part in (network.image_encoder, *fine, decoder.transformer, decoder.output_upscaling):
        lowered(part, dtype_for(options), (LayerNorm2d,), options.device)
    return network


def built(entry: Sam2Entry) -> SAM2Base:
    """The network with random weights."""
    folder = CONFIGS if entry.weights.bundled else PACKAGE
    config = OmegaConf.load(folder / entry.config)
    extras = DictConfig({"model": {"sam_mask_decoder_extra_args": DECODER_EXTRAS}})
    merged = OmegaConf.to_container(OmegaConf.merge(config, extras).model)
    _leave_out_videos(merged)
    network: SAM2Base = instantiate(merged, _recursive_=True)
    return network


def _leave_out_videos(config: object) -> None:
    """Changes a part of a configuration so that nothing is made that pictures do not need.

    Where there are GPUs, both classes put tables on the current one, which may be another worker's. And the table of
    positions, 88 MB for pictures of 1024 pixels, would be copied for each picture.
    """
    if isinstance(config, list):
        for each in config:
            _leave_out_videos(each)
    if not isinstance(config, dict):
        return
    if config.get("_target_") in FOR_VIDEOS:
        config["_target_"] = FOR_VIDEOS[config["_target_"]]
        for name in ROTARY_ARGUMENTS:
            config.pop(name, None)
    for each in config.values():
        _leave_out_videos(each)
