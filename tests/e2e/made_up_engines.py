"""The engine's half of the operation that nobody has."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from featsvc.engines import registry
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.decoding.pictures import decoded
from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Computation, Prepared, alone
from featsvc.v1.schema import EncodeImageParams
from featsvc.work.item import PictureItem
from featsvc.work.options import EngineOptions
from tests.e2e.made_up import MEAN_COLOUR, MeanColour


@dataclass(frozen=True)
class PreparedColours(Prepared):
    """All colours of a picture, H x W x 3."""

    colours: np.ndarray


def prepare(
    item: PictureItem, params: EncodeImageParams, loaded: ClipModel, options: EngineOptions
) -> PreparedColours:
    """Decodes the picture."""
    picture = decoded(item, options)
    colours = np.asarray(picture.pixels)
    return PreparedColours(alone(), colours.size, 0.0, colours, orientation=picture.orientation)


def run(batch: list[PreparedColours], params: EncodeImageParams, loaded: ClipModel) -> list[MeanColour]:
    """The mean of each."""
    means = [each.colours.mean(axis=(0, 1), dtype=np.float32) for each in batch]
    return [MeanColour(mean, each.colours[..., 0].size) for mean, each in zip(means, batch, strict=True)]


def build(options: EngineOptions) -> Engines:
    """All engines, and this operation for CLIP's models."""
    engines = registry.build(options)
    clip = engines.families["clip"]
    more = (*clip.computations, Computation(MEAN_COLOUR, prepare, run))
    return replace(engines, families={**engines.families, "clip": replace(clip, computations=more)})
