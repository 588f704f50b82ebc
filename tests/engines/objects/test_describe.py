"""Objects with the demo models: every descriptor against its plain formula, and what a request may hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from featsvc.engines.objects import sources
from featsvc.engines.objects.crops import Crops
from featsvc.engines.objects.networks import ClipNetwork, DinoNetwork
from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Loaded
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.v1 import schema as S
from featsvc.work.item import ObjectItem, PictureItem, PromptItem
from featsvc.work.operations import DESCRIBE_OBJECTS, ENCODE_IMAGE, EXTRACT_CLIP, GENERATE_MASKS
from featsvc.work.results import ObjectList
from tests.engines import models

PICTURE = models.picture(120, 90)
CONTENT = models.encoded(PICTURE)
FEW = {"points_per_side": 4, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.5}
BOXES = [[10, 12, 70, 60], [20, 20, 45, 44], [100, 3, 118, 88]]
CLIP_CROP, DINO_CROP = ({name: {}, "crop": {}} for name in ("clip", "dino"))


def described(engines: Engines, source: Any = None, digest: str = "", **params: Any) -> ObjectList:
    """The answer with the demo models."""
    own = DESCRIBE_OBJECTS.settled
    assert own is not None
    settled = own(S.DescribeObjectsParams.model_validate(params))
    item = ObjectItem(
        CONTENT, digest, source=None if source is None else S.ObjectSource.model_validate(source)
    )
    result = models.answer(engines, DESCRIBE_OBJECTS.rpc, item, settled, loaded(engines, item, settled))
    assert isinstance(result, ObjectList)
    return result


def loaded(engines: Engines, item: ObjectItem, params: S.DescribeObjectsParams) -> Loaded:
    """The demo models that the table of operations says that this needs."""

    class Asked:
        source = item.source

    asked: Any = Asked()
    asked.params = params
    assert DESCRIBE_OBJECTS.models is not None
    families = [use.operation.family for use in DESCRIBE_OBJECTS.models(asked)]
    return together(engines, families)


def together(engines: Engines, families: Sequence[str]) -> Loaded:
    """The demo models of these families, each loaded once for all tests."""
    for each in families:
        if each not in LOADED:
            LOADED[each] = engines.load(f"demo-{each}")
    return engines.together([LOADED[each] for each in families])


LOADED: dict[str, Loaded] = {}


def test_automatic_masks_are_those_of_sam2_in_their_order(engines: Engines) -> None:
    found = described(engines, **FEW, mask_encoding="coco_rle")
    params = GENERATE_MASKS.settled(S.GenerateMasksParams(**FEW, mask_encoding="coco_rle"))  # type: ignore[misc]
    alone: Any = models.answer(engines, GENERATE_MASKS.rpc, PictureItem(CONTENT), params, LOADED["sam2"])
    assert len(found.objects) > 2
    assert tuple(each.mask for each in found.objects) == alone.masks
    assert found.descriptors[0].vectors.shape == (len(alone.masks), 128)


def test_a_pooled_vector_of_one_cell_is_the_feature_that_clip_extracts(engines: Engines) -> None:
    view = {"params": {"load_size": -1}}
    found = described(engines, {"boxes": [[16, 32, 32, 48]]}, describe=[{"clip": view, "pooled": {}}])
    params = S.ClipExtractFeaturesParams(load_size=-1)
    features: Any = models.answer(engines, EXTRACT_CLIP.rpc, PictureItem(CONTENT), params, LOADED["clip"])
    patch = features.geometry.patch_size
    assert patch == 16
    expected = features.features[2, 1]
    np.testing.assert_allclose(
        found.descriptors[0].vectors[0], expected / np.linalg.norm(expected), atol=1e-6
    )


def test_a_pooled_vector_by_dinos_likeness_is_the_feature_on_its_grid(engines: Engines) -> None:
    by_dino = {"load_size": -1, "dense_recipe": "proxyclip", "proxy_model": "demo-dino"}
    ways = [{"dino": {}, "pooled": {}}, {"clip": {"params": by_dino}, "pooled": {}}, CLIP_CROP]
    found = described(engines, {"boxes": [[14, 28, 28, 42]]}, describe=ways)
    both = engines.together([LOADED["clip"], LOADED["dino"]])
    params = S.ClipExtractFeaturesParams(**by_dino)
    features: Any = models.answer(engines, EXTRACT_CLIP.rpc, PictureItem(CONTENT), params, both)
    expected = features.features[2, 1]
    assert [each.model for each in found.descriptors] == ["demo-dino", "demo-clip", "demo-clip"]
    np.testing.assert_allclose(
        found.descriptors[1].vectors[0], expected / np.linalg.norm(expected), atol=1e-6
    )


def test_a_crop_asks_no_proxy(engines: Engines) -> None:
    by_dino = {"dense_recipe": "proxyclip", "proxy_model": "demo-dino"}
    plain, told = (
        described(engines, {"boxes": BOXES[:1]}, describe=[{"clip": view, "crop": {}}])
        for view in ({}, {"params": by_dino})
    )
    np.testing.assert_array_equal(plain.descriptors[0].vectors, told.descriptors[0].vectors)


def test_a_crop_is_embedded_as_clip_embeds_a_picture(engines: Engines) -> None:
    found = described(engines, {"boxes": BOXES}, describe=[CLIP_CROP])
    for box, vector in zip(BOXES, found.descriptors[0].vectors, strict=True):
        part = PictureItem(models.encoded(PICTURE.crop(tuple(box))))  # type: ignore[arg-type]
        alone: Any = models.answer(engines, ENCODE_IMAGE.rpc, part, S.EncodeImageParams(), LOADED["clip"])
        np.testing.assert_array_equal(vector, alone.image_embedding[0])


def test_dino_describes_a_crop_by_its_class_token(engines: Engines) -> None:
    found = described(engines, {"boxes": BOXES[:1]}, describe=[DINO_CROP])
    model: Any = LOADED["dino"]
    network = DinoNetwork(model, S.DinoParams())
    side = model.network.patch_embed.img_size[0]
    seen = network.seen(PICTURE.crop(tuple(BOXES[0])), S.Squaring.NONE)  # type: ignore[arg-type]
    assert seen.pixels.shape == (3, side, side)
    with torch.inference_mode():
        plain = model.network.forward_features(seen.pixels[None])[0, 0]
    np.testing.assert_allclose(found.descriptors[0].vectors[0], F.normalize(plain, dim=0), atol=1e-5)


def test_levels_mixtures_and_the_whole_picture_are_joined_as_their_formulas_say(engines: Engines) -> None:
    way = S.CropDescriptor(
        levels=2,
        background=S.Background.BLACK,
        masked_weight=0.75,
        with_picture=True,
        squaring=S.Squaring.STRETCH,
    )
    found = described(engines, {"boxes": BOXES}, describe=[{"clip": {}, "crop": way}])
    model: Any = LOADED["clip"]
    network = ClipNetwork(model, S.ClipParams())

    def embedded(picture: Image.Image, squaring: S.Squaring = way.squaring) -> torch.Tensor:
        with torch.inference_mode():
            return network.embedded([network.seen(picture, squaring)])[0]

    own = []
    for box in BOXES:
        mask = np.zeros((90, 120), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        crops = [embedded(each) for each in Crops(PICTURE, way).of(mask)]
        levels = [F.normalize(0.75 * crops[i] + 0.25 * crops[i + 1], dim=0) for i in (0, 2)]
        own.append(F.normalize(levels[0] + levels[1], dim=0))
    whole = embedded(PICTURE, S.Squaring.NONE)
    alike = torch.stack([vector @ whole for vector in own]).exp()
    weights = alike / alike.sum()
    expected = [
        F.normalize(weight * whole + (1 - weight) * vector, dim=0)
        for weight, vector in zip(weights, own, strict=True)
    ]
    np.testing.assert_allclose(found.descriptors[0].vectors, torch.stack(expected), atol=1e-6)


def test_an_object_without_pixels_has_no_vector(engines: Engines) -> None:
    masks = np.zeros((2, 90, 120), np.uint8)
    masks[1, 3:50, 3:50] = 1
    source = {"bitmaps": {"dtype": "uint8", "shape": masks.shape, "data": masks.tobytes()}}
    found = described(engines, source, describe=[CLIP_CROP, {"clip": {}, "pooled": {}}])
    for each in found.descriptors:
        assert not each.vectors[0].any()
        assert np.linalg.norm(each.vectors[1]) == pytest.approx(1, abs=1e-6)


def test_warm_caches_and_other_ways_beside_change_nothing(engines: Engines) -> None:
    ways = [CLIP_CROP, {"dino": {}, "pooled": {"pooling": "max"}}, {"clip": {}, "pooled": {}}]
    cold = described(engines, digest="sha256:objects", **FEW, describe=ways)
    warm = described(engines, digest="sha256:objects", **FEW, describe=ways)
    alone = [described(engines, **FEW, describe=[way]).descriptors[0] for way in ways]
    for one, other, third in zip(cold.descriptors, warm.descriptors, alone, strict=True):
        assert one.vectors.tobytes() == other.vectors.tobytes() == third.vectors.tobytes()
    for one, other in zip(cold.objects, warm.objects, strict=True):
        assert one.mask.area == other.mask.area
        assert (one.level, one.parent) == (other.level, other.parent)


def test_prompts_give_the_best_mask_of_each(engines: Engines) -> None:
    prompts = [{"point_coords": [[40, 45]], "point_labels": [1]}, {"box": BOXES[0]}]
    found = described(engines, {"prompts": prompts}, mask_encoding="bits")
    item = S.PredictMasksParams()
    alone = models.prompted(
        engines,
        PromptItem(CONTENT, prompts=tuple(map(S.Prompt.model_validate, prompts))),
        item,
        LOADED["sam2"],  # type: ignore[arg-type]
    )
    for one, other in zip(found.objects, alone.results, strict=True):
        best = int(other.iou_predictions.argmax())
        np.testing.assert_array_equal(
            models.unpacked(one.mask.segmentation), models.unpacked(other.masks)[best]
        )
        assert one.mask.predicted_iou == other.iou_predictions[best]


@pytest.mark.parametrize("dtype", list(S.FeatureDType))
def test_vectors_come_in_every_element_type(engines: Engines, dtype: S.FeatureDType) -> None:
    full = described(engines, {"boxes": BOXES}, describe=[CLIP_CROP]).descriptors[0].vectors
    each = described(engines, {"boxes": BOXES}, describe=[CLIP_CROP], descriptor_dtype=dtype).descriptors[0]
    values = each.vectors.astype(np.float32)
    if dtype is S.FeatureDType.BFLOAT16:
        values = (each.vectors.astype(np.uint32) << 16).view(np.float32)
    if each.rounding is not None and each.rounding.scale is not None:
        values = values * each.rounding.scale
    np.testing.assert_allclose(values, full, atol=2e-3)


def test_limits_are_settings_with_errors_that_name_them(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(engines, options=replace(engines.options, max_objects=2, max_crops=5))
    with pytest.raises(InvalidFields, match=r"3 objects, at most 2 \(--max-objects\)"):
        described(few, {"boxes": BOXES})
    with pytest.raises(ReplyTooLarge, match=r"objects were found, at most 2 \(--max-objects\)"):
        described(few, **FEW)
    monkeypatch.setattr(sources, "intersections", lambda _: pytest.fail("compared before they were counted"))
    lists = {**FEW, "granularities": ["subpart", "part", "whole"]}
    with pytest.raises(ReplyTooLarge, match=r"objects were found, at most .*fewer granularities"):
        described(replace(engines, options=replace(engines.options, max_objects=7)), **lists)
    with pytest.raises(InvalidFields, match=r"make 6 crops of 2 objects, at most 5 \(--max-crops\)"):
        described(few, {"boxes": BOXES[:2]}, describe=[{"clip": {}, "crop": {"levels": 3}}])


def test_prompts_and_dense_features_keep_to_the_limits_of_others(engines: Engines) -> None:
    few = replace(engines, options=replace(engines.options, max_objects=1, max_feature_bytes=1 << 16))
    prompts = [{"box": box} for box in BOXES[:2]]
    with pytest.raises(ReplyTooLarge, match=r"2 objects .*at most 1 \(--max-objects\)"):
        described(few, {"prompts": prompts}, describe=[CLIP_CROP])
    binned = {"dino": {"params": {"bin": True}}, "pooled": {}}
    with pytest.raises(ReplyTooLarge, match="at most 65536: a smaller load_size, or bin false"):
        described(few, {"boxes": BOXES[:1]}, describe=[binned])


def test_an_option_of_a_descriptor_is_named_by_where_it_stands(engines: Engines) -> None:
    ways = [CLIP_CROP, {"dino": {"params": {"layer": 99}}, "pooled": {}}]
    with pytest.raises(InvalidFields, match="99 is no block of demo-dino") as caught:
        described(engines, {"boxes": BOXES}, describe=ways)
    assert [each.field for each in caught.value.violations] == ["objects.describe[1].dino.params.layer"]
