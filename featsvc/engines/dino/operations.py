"""The DINO operation: dense self-supervised features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from featsvc.catalog import DinoEntry
from featsvc.engines.answers.feature_reply import Known, feature_reply
from featsvc.engines.answers.feature_size import FeatureKind, check_features
from featsvc.engines.decoding.pictures import decoded
from featsvc.engines.dino import model as dino_model
from featsvc.engines.dino.features import CELLS, Reading, descriptors, log_binned
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.geometry.sizing import Fit, Grid, NetworkInput, checked_geometry, network_input
from featsvc.engines.networks.compiled import is_slow_at_first, warmed
from featsvc.engines.networks.cost import Sight, checked_flop
from featsvc.engines.running.family import Computation, FamilyEngines, Prepared, forward_each, picture_key
from featsvc.errors import invalid_field
from featsvc.v1.schema import DinoExtractFeaturesParams, DinoParams, Facet
from featsvc.work.item import PictureItem
from featsvc.work.operations import EXTRACT_DINO
from featsvc.work.options import EngineOptions
from featsvc.work.results import Features


@dataclass(frozen=True)
class DinoPicture(Prepared):
    """A picture, and the number of the block to read."""

    input: NetworkInput
    layer: int
    known: Known


def prepare_features(
    item: PictureItem, params: DinoExtractFeaturesParams, loaded: DinoModel, options: EngineOptions
) -> DinoPicture:
    """Decodes and fits the picture; checks what only this model can know."""
    stride, layer = stride_of(params, loaded), layer_of(params, loaded)
    picture = decoded(item, options)
    entry = loaded.entry
    fit = Fit(params.load_size, center_crop=False, padding_mode=params.padding_mode)
    grid = Grid(entry.patch_size, stride)
    channels = loaded.channels * (CELLS if params.bin else 1)
    geometry = checked_geometry(picture.pixels, fit, grid, options)
    kind = FeatureKind(channels, _space(params, layer, entry))
    known = check_features(geometry, kind, params, options, item.way)
    sight, transformer = Sight(picture.pixels.size, fit, grid), loaded.transformer.first(layer + 1)
    flop = checked_flop(sight, transformer, entry.key, options)
    ready = network_input(picture.pixels, fit, grid, loaded.normal, loaded.device)
    # A finer stride makes more tokens of the same pixels.
    pixels = ready.pixels[0].numel() * (entry.patch_size // stride) ** 2
    key = picture_key(ready.pixels.shape, options)
    return DinoPicture(key, pixels, flop, ready, layer, known, orientation=picture.orientation)


def stride_of(params: DinoParams, loaded: DinoModel) -> int:
    """Pixels between neighbouring patches; raises InvalidFields where that is no divisor of the patch size."""
    patch = loaded.entry.patch_size
    stride = params.stride or patch
    if patch % stride:
        divisors = ", ".join(str(each) for each in range(1, patch + 1) if patch % each == 0)
        raise invalid_field(
            "params.stride", f"{stride} does not divide the patch size of {loaded.entry.key}: {divisors} do"
        )
    return stride


def layer_of(params: DinoParams, loaded: DinoModel) -> int:
    """Number of the block that is read, from 0; raises InvalidFields where there is none."""
    count = loaded.layers
    if not -count <= params.layer < count:
        message = f"{params.layer} is no block of {loaded.entry.key}, which has {-count} to {count - 1}"
        raise invalid_field("params.layer", message)
    return params.layer % count


def run_features(
    batch: list[DinoPicture], params: DinoExtractFeaturesParams, loaded: DinoModel
) -> list[Features]:
    """Dense features of pictures of one size."""
    stride, reading = stride_of(params, loaded), Reading(params.facet, batch[0].layer)

    def forward(pixels: Tensor) -> Tensor:
        return descriptors(loaded.network, pixels, stride, loaded.entry.position, reading)

    outputs = forward_each([each.input for each in batch], loaded.normal, loaded.device, forward)
    return [_answer(out, each, params) for out, each in zip(outputs, batch, strict=True)]


def _answer(features: Tensor, item: DinoPicture, params: DinoExtractFeaturesParams) -> Features:
    return feature_reply(log_binned(features) if params.bin else features, item.known, params)


def _space(params: DinoExtractFeaturesParams, layer: int, entry: DinoEntry) -> str:
    return f"{entry.key}/{params.facet}/{layer}{'/bin' if params.bin else ''}"


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


FAMILY = FamilyEngines(load, (Computation(EXTRACT_DINO, prepare_features, run_features),))
