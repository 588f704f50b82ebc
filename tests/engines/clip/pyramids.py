"""A small pyramid, and what answers it."""

from __future__ import annotations

from typing import Any

from PIL import Image

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.v1.schema import EmbedPyramidParams
from featsvc.work.operations import EMBED_PYRAMID
from featsvc.work.results import Pyramid
from tests.engines import models

CUT: dict[str, Any] = {"tile_ratio_min": 0.4, "tile_ratio_max": 0.8, "tile_levels": 2, "tile_stride_ratio": 1}
IMAGE = models.picture(64, 48)


def pyramid(
    engines: Engines, model: ClipModel, image: Image.Image, digest: str = "", **options: Any
) -> Pyramid:
    """What a model answers of an image; its tiles are kept where it has a digest."""
    params = EmbedPyramidParams(**options)
    result = models.answer(engines, EMBED_PYRAMID.rpc, models.item_of(image, digest=digest), params, model)
    assert isinstance(result, Pyramid)
    return result
