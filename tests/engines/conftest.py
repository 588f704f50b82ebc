"""Models are built once for the session."""

from __future__ import annotations

import pytest
import torch

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from tests.engines import models


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a GPU need one."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(scope="session")
def engines() -> Engines:
    """Engines on one thread of the CPU, or as many as these tests are run with."""
    built = models.engines()
    assert torch.get_num_threads() == models.THREADS
    return built


@pytest.fixture(scope="session")
def vit_b16() -> ClipModel:
    """ViT-B-16-quickgelu with random weights."""
    return models.random_clip()


@pytest.fixture(scope="session")
def demo_clip(engines: Engines) -> ClipModel:
    """demo-clip as shipped."""
    return engines.load("demo-clip")


@pytest.fixture(scope="session")
def demo_dino(engines: Engines) -> DinoModel:
    """demo-dino as shipped."""
    return engines.load("demo-dino")


@pytest.fixture(scope="session")
def demo_sam2(engines: Engines) -> Sam2Model:
    """demo-sam2 as shipped."""
    return engines.load("demo-sam2")


@pytest.fixture(scope="session")
def dinov2() -> DinoModel:
    """dinov2_vits14 with random weights."""
    return models.random_dino("dinov2_vits14")


@pytest.fixture(scope="session")
def dinov2_reg() -> DinoModel:
    """dinov2_vits14_reg with random weights."""
    return models.random_dino("dinov2_vits14_reg")


@pytest.fixture(scope="session")
def small_sam2(engines: Engines) -> Sam2Model:
    """demo-sam2's architecture with random weights."""
    return models.random_sam2("demo-sam2")


@pytest.fixture(scope="session")
def spotted_sam2(engines: Engines) -> Sam2Model:
    """The same with masks that are discs."""
    model = models.random_sam2("demo-sam2", seed=1)
    models.make_spots(model.network.sam_mask_decoder)
    return model


@pytest.fixture(scope="session")
def sam2_tiny(engines: Engines) -> Sam2Model:
    """sam2.1_hiera_tiny with random weights."""
    return models.random_sam2("sam2.1_hiera_tiny")
