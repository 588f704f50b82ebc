"""What is too large is refused before its pixels are made, and so before any memory goes into it."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from featsvc.engines import clip, dino
from featsvc.engines.item import Item
from featsvc.errors import FeatsvcError, InvalidFields, ReplyTooLarge
from featsvc.v1 import schema
from featsvc.v1.schema import TextQuery
from tests.engines import models

PICTURE = models.encoded(models.picture(60, 40))
DENSE: dict[str, tuple[BaseModel, Item]] = {
    "clip.extract_features": (schema.ClipExtractFeaturesParams(load_size=-1), Item(PICTURE)),
    "clip.compute_similarity": (
        schema.ComputeSimilarityParams(load_size=-1),
        Item(PICTURE, texts=TextQuery(text=("a red circle",))),
    ),
    "dino.extract_features": (schema.DinoExtractFeaturesParams(), Item(PICTURE)),
}
LIMITS: dict[str, tuple[object, type[FeatsvcError]]] = {
    "max_cells": (11, InvalidFields),
    "max_reply_bytes": (11, ReplyTooLarge),
    "max_image_pixels": (60 * 40, InvalidFields),
}


@pytest.mark.parametrize("limit", list(LIMITS))
@pytest.mark.parametrize("operation", list(DENSE))
def test_a_refused_picture_costs_no_pixels(
    operation: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: object) -> None:
        raise AssertionError("pixels of a picture that is refused")

    for module in (clip, dino):
        monkeypatch.setattr(module, "network_input", made)
    value, error = LIMITS[limit]
    few = models.engines(**{limit: value})
    params, item = DENSE[operation]
    if limit == "max_image_pixels":
        params = params.model_copy(update={"load_size": 41})
    with pytest.raises(error):
        few.prepare(operation, item, params, few.load(f"demo-{operation.split('.')[0]}"))
