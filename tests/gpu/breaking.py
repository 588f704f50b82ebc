"""Engines of which a picture of DINO breaks the device, as a kernel does that reads beyond its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from featsvc.engines import registry
from featsvc.engines.answers.dense import PreparedFeatures
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.registry import Engines
from featsvc.engines.running.family import AnyComputation
from featsvc.engines.running.homeward import Later
from featsvc.v1.schema import DinoExtractFeaturesParams
from featsvc.work.operations import EXTRACT_DINO
from featsvc.work.options import EngineOptions
from featsvc.work.results import Features
from tests.engines.pretended import engines as pretended
from tests.gpu.served import WIDTH


def build(options: EngineOptions) -> Engines:
    """The engines of a worker; without a GPU it is pretended."""
    made: Engines = registry.build(options) if torch.cuda.is_available() else pretended.build(options)
    dino = made.families["dino"]
    computations = tuple(map(_breaking, dino.computations))
    return replace(made, families={**made.families, "dino": replace(dino, computations=computations)})


def _breaking(computation: AnyComputation) -> AnyComputation:
    if computation.operation is not EXTRACT_DINO:
        return computation

    def run(
        batch: list[PreparedFeatures], params: DinoExtractFeaturesParams, loaded: DinoModel
    ) -> Sequence[Features | Later[Features]]:
        if any(each.input.geometry.original_width == WIDTH for each in batch):
            break_device(loaded.device)
        return computation.run(batch, params, loaded)

    return replace(computation, run=run)


def break_device(device: torch.device) -> None:
    """Raises what CUDA raises after an assertion of a kernel; nothing runs on the device any more in this process."""
    some, beyond = torch.zeros(4, device=device), torch.full((1,), 9, device=device)
    try:
        some[beyond].cpu()
    except IndexError as error:  # kernels of a pretended device are the CPU's, which says so at once
        raise RuntimeError("CUDA error: device-side assert triggered") from error
