"""sam2's own predictor and generator, made to work for networks of other sizes and without its extension."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.ndimage
import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.sam2_image_predictor import SAM2ImagePredictor

from featsvc.engines.sam2.model import Sam2Model


def predictor(model: Sam2Model, **arguments: float) -> SAM2ImagePredictor:
    """The package's predictor over the same weights."""
    with scripting():
        made = SAM2ImagePredictor(model.network, **arguments)
    made._bb_feat_sizes = feature_sizes(model)
    return made


def generator(model: Sam2Model, **arguments: object) -> SAM2AutomaticMaskGenerator:
    """The package's generator over the same weights."""
    with scripting():
        made = SAM2AutomaticMaskGenerator(model.network, **arguments)
    made.predictor._bb_feat_sizes = feature_sizes(model)
    return made


@contextmanager
def scripting() -> Iterator[None]:
    """The package scripts its transforms, which newer torch finds out of date."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def feature_sizes(model: Sam2Model) -> list[tuple[int, int]]:
    """Sizes of the encoder's levels; upstream writes down those of 1024 pixels."""
    return [(model.image_size // step,) * 2 for step in (4, 8, 16)]


def components(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the missing extension computes: 8-connected labels and their areas, N x 1 x H x W (with scipy)."""
    labels, areas = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, np.int32)
    for index, each in enumerate(mask[:, 0].numpy()):
        labels[index, 0], count = scipy.ndimage.label(each, structure=np.ones((3, 3)))
        for label in range(1, count + 1):
            region = labels[index, 0] == label
            areas[index, 0][region] = region.sum()
    return torch.from_numpy(labels), torch.from_numpy(areas)


@pytest.fixture
def with_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream fills holes and removes islands, as it would with its extension."""
    monkeypatch.setattr("sam2.utils.misc.get_connected_components", components)
