"""What is too large is refused before its pixels are made, and so before any memory goes into it."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from featsvc.engines.clip import dense_pass as clip
from featsvc.engines.dino import dense_pass as dino
from featsvc.errors import FeatsvcError, InvalidFields, ReplyTooLarge
from featsvc.v1 import schema
from featsvc.v1.schema import TextQuery
from featsvc.work.item import Item, PictureItem, QueryItem
from featsvc.work.operations import COMPUTE_SIMILARITY, EXTRACT_CLIP, EXTRACT_DINO
from featsvc.work.options import EngineOptions
from tests.engines import models

PICTURE = models.encoded(models.picture(60, 40))
DENSE: dict[str, tuple[BaseModel, Item]] = {
    EXTRACT_CLIP.rpc: (schema.ClipExtractFeaturesParams(load_size=-1), PictureItem(PICTURE)),
    COMPUTE_SIMILARITY.rpc: (
        schema.ComputeSimilarityParams(load_size=-1),
        QueryItem(PICTURE, query=TextQuery(text=("a red circle",))),
    ),
    EXTRACT_DINO.rpc: (schema.DinoExtractFeaturesParams(), PictureItem(PICTURE)),
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
        few.prepare(operation, item, params, few.load(models.demo_key(operation)))


def components(limits: dict[str, int], **options: object) -> None:
    """Prepares colours of demo-dino's 3 x 5 cells of 128 channels."""
    engines = models.engines(**limits)
    params = schema.DinoExtractFeaturesParams(ret_pca=True, **options)
    engines.prepare(EXTRACT_DINO.rpc, PictureItem(PICTURE), params, engines.load("demo-dino"))


@pytest.mark.parametrize("ret_patches", [True, False])
def test_features_behind_components_have_a_limit(ret_patches: bool) -> None:
    plain, binned = 3 * 5 * 128 * 4, 3 * 5 * 128 * 17 * 4
    components({"max_feature_bytes": plain}, ret_patches=ret_patches)
    with pytest.raises(ReplyTooLarge, match=f"{plain} bytes.*: a smaller load_size makes") as caught:
        components({"max_feature_bytes": plain - 1}, ret_patches=ret_patches)
    assert "bin" not in caught.value.message
    components({"max_feature_bytes": binned}, ret_patches=ret_patches, bin=True)
    with pytest.raises(ReplyTooLarge, match=f"{binned} bytes.* or bin false"):
        components({"max_feature_bytes": binned - 1}, ret_patches=ret_patches, bin=True)


def test_the_matrix_behind_components_has_a_limit() -> None:
    # The smaller of 3 x 5 cells and 128 channels; at stride 7 of 5 x 9 cells.
    components({"max_pca_side": 15})
    with pytest.raises(ReplyTooLarge, match="15 x 15, at most 14: a smaller load_size makes it fit"):
        components({"max_pca_side": 14})
    components({"max_pca_side": 45}, stride=7, bin=True)
    with pytest.raises(ReplyTooLarge, match="45 x 45, at most 44: a smaller load_size or bin false"):
        components({"max_pca_side": 44}, stride=7, bin=True)
    components({"max_pca_side": 128}, stride=2)
    with pytest.raises(ReplyTooLarge, match="128 x 128, at most 127"):
        components({"max_pca_side": 127}, stride=2)


def test_a_plain_answer_has_the_limit_of_its_reply_alone() -> None:
    engines = models.engines(max_feature_bytes=1, max_pca_side=1)
    params = schema.DinoExtractFeaturesParams(bin=True)
    engines.prepare(EXTRACT_DINO.rpc, PictureItem(PICTURE), params, engines.load("demo-dino"))


def test_defaults_allow_components_of_the_largest_plain_grid() -> None:
    options = EngineOptions()
    widest = 1536
    assert options.max_cells * widest * 4 <= options.max_feature_bytes
    assert widest <= options.max_pca_side
