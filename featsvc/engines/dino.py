"""The DINO operation: dense self-supervised features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from featsvc.catalog import DinoEntry
from featsvc.engines import dino_model
from featsvc.engines.compiled import warmed
from featsvc.engines.dino_features import descriptors
from featsvc.engines.dino_model import DinoModel
from featsvc.engines.family import Family, Operation, Prepared, forward_each, picture_key
from featsvc.engines.feature_reply import feature_reply
from featsvc.engines.feature_size import check_features
from featsvc.engines.item import Item
from featsvc.engines.log_bin import CELLS, log_binned
from featsvc.engines.options import EngineOptions
from featsvc.engines.pictures import decoded
from featsvc.engines.results import Features, Result
from featsvc.engines.sizing import Fit, Grid, NetworkInput, checked_geometry, network_input
from featsvc.errors import invalid_field
from featsvc.v1.schema import DinoExtractFeaturesParams, Facet


@dataclass(frozen=True)
class PreparedPicture(Prepared):
    """A picture, and the number of the block to read."""

    input: NetworkInput
    layer: int


def prepare_features(
    item: Item, params: DinoExtractFeaturesParams, loaded: DinoModel, options: EngineOptions
) -> PreparedPicture:
    """Decodes and fits the picture; checks what only this model can know."""
    stride, layer = _stride(params, loaded), _layer(params, loaded)
    picture = decoded(item.image, options)
    entry = loaded.entry
    fit = Fit(params.load_size, center_crop=False, padding_mode=params.padding_mode)
    grid = Grid(entry.patch_size, stride)
    channels = loaded.channels * (CELLS if params.bin else 1)
    geometry = checked_geometry(picture, fit, grid, options)
    check_features(geometry, channels, params, options, item.chunked)
    ready = network_input(picture, fit, grid, (entry.mean, entry.std))
    # A finer stride makes more tokens of the same pixels.
    cost = ready.pixels[0].numel() * (entry.patch_size // stride) ** 2
    return PreparedPicture(picture_key(ready.pixels.shape, options), cost, ready, layer)


def _stride(params: DinoExtractFeaturesParams, loaded: DinoModel) -> int:
    patch = loaded.entry.patch_size
    stride = params.stride or patch
    if patch % stride:
        divisors = ", ".join(str(each) for each in range(1, patch + 1) if patch % each == 0)
        raise invalid_field(
            "params.stride", f"{stride} does not divide the patch size of {loaded.entry.key}: {divisors} do"
        )
    return stride


def _layer(params: DinoExtractFeaturesParams, loaded: DinoModel) -> int:
    count = loaded.layers
    if not -count <= params.layer < count:
        message = f"{params.layer} is no block of {loaded.entry.key}, which has {-count} to {count - 1}"
        raise invalid_field("params.layer", message)
    return params.layer % count


def run_features(
    batch: list[PreparedPicture], params: DinoExtractFeaturesParams, loaded: DinoModel
) -> list[Result]:
    """Dense features of pictures of one size."""
    stride, read = _stride(params, loaded), (params.facet, batch[0].layer)

    def forward(pixels: Tensor) -> Tensor:
        return descriptors(loaded.network, pixels, stride, loaded.entry.position, read)

    outputs = forward_each([each.input.pixels for each in batch], loaded.device, forward)
    return [_answer(out, each, params) for out, each in zip(outputs, batch, strict=True)]


def _answer(features: Tensor, item: PreparedPicture, params: DinoExtractFeaturesParams) -> Features:
    binned = log_binned(features) if params.bin else features
    return feature_reply(binned, item.input.geometry, params)


def load(entry: DinoEntry, options: EngineOptions) -> DinoModel:
    """The model, compiled if that is asked for."""
    loaded = dino_model.load(entry, options)
    if options.compile:
        height, width = loaded.network.patch_embed.img_size
        pictures, read = torch.zeros(2, 3, height, width), (Facet.TOKEN, loaded.layers - 1)

        def forward(count: int) -> Tensor:
            some = pictures[:count].to(loaded.device)
            return descriptors(loaded.network, some, entry.patch_size, entry.position, read)

        warmed(entry.key, (lambda: forward(1), lambda: forward(2)))
    return loaded


FAMILY = Family(load, {"dino.extract_features": Operation(prepare_features, run_features)})
