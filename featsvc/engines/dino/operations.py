"""The DINO operation: dense self-supervised features."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from featsvc.catalog import DinoEntry
from featsvc.engines.answers.dense import PreparedFeatures, features_of, prepared_features
from featsvc.engines.answers.joint_basis import BasisCache
from featsvc.engines.dino import model as dino_model
from featsvc.engines.dino.dense_pass import DinoPass
from featsvc.engines.dino.features import Reading, descriptors
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.networks.compiled import is_slow_at_first, warmed
from featsvc.engines.running.family import Computation, FamilyEngines
from featsvc.engines.running.homeward import Later
from featsvc.v1.schema import DinoExtractFeaturesParams, Facet
from featsvc.work.item import FeaturesItem
from featsvc.work.operations import EXTRACT_DINO
from featsvc.work.options import EngineOptions
from featsvc.work.results import Features


def prepare_features(
    bases: BasisCache,
    item: FeaturesItem,
    params: DinoExtractFeaturesParams,
    loaded: DinoModel,
    options: EngineOptions,
) -> PreparedFeatures:
    """Decodes and fits the picture; checks what only this model can know."""
    dense = DinoPass.of(loaded, params, params.padding_mode)
    return prepared_features(bases, item, params, dense, options)


def run_features(
    batch: list[PreparedFeatures], params: DinoExtractFeaturesParams, loaded: DinoModel
) -> list[Later[Features]]:
    """Dense features of pictures of one size."""
    return features_of(batch, params, DinoPass.of(loaded, params, params.padding_mode))


def load(entry: DinoEntry, options: EngineOptions) -> DinoModel:
    """The model, warm, and compiled if that is asked for."""
    loaded = dino_model.load(entry, options)
    if is_slow_at_first(options):
        height, width = loaded.network.patch_embed.img_size
        pictures, reading = torch.zeros(2, 3, height, width), Reading(Facet.TOKEN, loaded.layers - 1)

        def forward(count: int) -> Tensor:
            some = pictures[:count].to(loaded.device)
            return descriptors(loaded.network, some, entry.patch_size, entry.position, reading)

        warmed(entry.key, (lambda: forward(1), lambda: forward(2)), options)
    return loaded


def family(bases: BasisCache) -> FamilyEngines:
    """The operation, over a cache of bases of several pictures."""
    return FamilyEngines(load, (Computation(EXTRACT_DINO, partial(prepare_features, bases), run_features),))
