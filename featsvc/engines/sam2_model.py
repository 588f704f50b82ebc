"""Builds a SAM2 network with its weights, as sam2.build_sam does."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sam2
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sam2.modeling.sam2_base import SAM2Base

from featsvc.catalog import Sam2Entry, find_weights
from featsvc.catalog.demo import CONFIGS
from featsvc.engines.checkpoint import fill, read_state
from featsvc.engines.family import nbytes
from featsvc.engines.options import EngineOptions

PACKAGE = Path(sam2.__file__).parent

DECODER_EXTRAS = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}
"""What build_sam2 adds by default: an unstable single mask gives way to the best of three."""


@dataclass(frozen=True)
class Sam2Model:
    """A SAM2 network on its device. Holds nothing about any picture."""

    entry: Sam2Entry
    network: SAM2Base
    device: torch.device
    file: Hashable = ()
    """What tells its weights file from another of the same name."""

    @property
    def identity(self) -> Hashable:
        """Equal for networks that give the same embeddings: a file may be replaced between two loads."""
        return (self.entry.key, self.file)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its name for /health."""
        return (self.entry.health_key,)

    @cached_property
    def nbytes(self) -> int:
        """Memory of the weights."""
        return nbytes(self.network)

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
    status = path.stat()
    file = (str(path), status.st_mtime_ns, status.st_size)
    return Sam2Model(entry, network.to(device).eval().requires_grad_(False), device, file)


def built(entry: Sam2Entry) -> SAM2Base:
    """The network with random weights."""
    folder = CONFIGS if entry.weights.bundled else PACKAGE
    config = OmegaConf.load(folder / entry.config)
    extras = DictConfig({"model": {"sam_mask_decoder_extra_args": DECODER_EXTRAS}})
    network: SAM2Base = instantiate(OmegaConf.merge(config, extras).model, _recursive_=True)
    return network
