"""Every field of every message that an engine takes changes the answer, or is documented to change nothing.

The fields come from the schema: one that has no line in CHANGES fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from featsvc.catalog.choice import entry_for
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields
from featsvc.fields.base import Parameters
from featsvc.v1 import schema
from featsvc.work.item import FeaturesItem, Item, PictureItem, PromptItem, QueryItem, TextItem
from featsvc.work.operations import (
    COMPUTE_SIMILARITY,
    EMBED_IMAGE,
    EMBED_PYRAMID,
    ENCODE_TEXT,
    EXTRACT_CLIP,
    EXTRACT_DINO,
    GENERATE_MASKS,
    OPERATIONS,
    PREDICT_MASKS,
    models_of,
)
from featsvc.work.presets import in_force
from featsvc.work.results import Result
from tests.engines import models
from tests.engines.contents import content, equal
from tests.engines.sam2.test_automatic import COMPACT, LARGE, LOOSE, OPEN, SIZE

# Of these tests.engines.objects.test_fields asks.
OBJECTS = (schema.DescribeObjectsParams, schema.FindObjectsParams)
PARAMS = [each for each in Parameters.__subclasses__() if each not in OBJECTS]
MESSAGES: list[type[BaseModel]] = [*PARAMS, schema.Prompt, schema.TextQuery, schema.Texts]


class Effect(Enum):
    """What a field is documented to do."""

    ANSWER = auto()
    """Another answer."""
    MODEL = auto()
    """Another model, which is chosen before an engine is asked."""
    NONE = auto()
    """Nothing that the answer shows."""
    REFUSED = auto()
    """There is one sensible value; others are refused."""
    REFUSED_BY_ENGINE = auto()
    """It must fit the model: test_basis shows what those do that fit."""


@dataclass(frozen=True)
class Change:
    """Another value of a field, the options without which it has no effect, and one that it stands instead of."""

    value: object
    within: Mapping[str, object] = field(default_factory=dict)
    effect: Effect = Effect.ANSWER
    instead_of: str = ""


COLOURS, PIXELS = {"ret_pca": True}, {"ret_patches": False}
OTHER = PictureItem(models.encoded(models.picture(40, 60, seed=1)), digest="sha256:of another")
BASIS = "pca1:other/maskclip:AAAA:00000000"
CLIP_MODEL = {
    "model_name": Change("ViT-B-32", effect=Effect.MODEL),
    "model_pretrained": Change("laion2b_e16", {"model_name": "ViT-B-32"}, Effect.MODEL),
}
SAM2_MODEL = {
    "model_cfg": Change("configs/sam2.1/sam2.1_hiera_t.yaml", effect=Effect.MODEL),
    "checkpoint_path": Change("checkpoints/sam2.1_hiera_small.pt", effect=Effect.MODEL),
}
FEATURES = {
    "ret_pca": Change(True),
    "ret_patches": Change(False),
    "load_size": Change(80),
    # The components are exact.
    "pca_niter": Change(100, COLOURS, Effect.NONE),
    "pca_q_min": Change(0.3, COLOURS),
    "pca_q_max": Change(0.6, COLOURS),
    "interpolation_mode": Change("nearest", PIXELS),
    "tensor_format": Change("CHW"),
    "padding_mode": Change("replicate"),
    "dtype": Change("float16"),
    "points": Change(((20, 30.5),)),
    "region": Change((20, 10, 40, 30.5)),
    "ret_pca_basis": Change(True, COLOURS),
    "pca_basis": Change(BASIS, COLOURS, Effect.REFUSED_BY_ENGINE),
    "pca_foreground": Change(True, COLOURS),
    "pca_digests": Change((OTHER.digest,), COLOURS),
}
DENSE_CLIP = {
    "center_crop": Change(True),
    "dense_recipe": Change("sclip"),
    "window_size": Change(32),
    "window_stride": Change(32, {"window_size": 48}),
    "proxy_model": Change(
        "dino_vits8", {"dense_recipe": "proxyclip", "proxy_model": "demo-dino"}, Effect.MODEL
    ),
}
TEMPLATES = {
    "templates": Change(("a drawing of {}", "{}")),
    "template_set": Change("simple"),
}
CROPS = {**COMPACT, "points_per_side": 4, "crop_n_layers": 1, "box_nms_thresh": 0.7, "crop_nms_thresh": 0.7}
POINT = {"point_coords": ((40.0, 45.0),), "point_labels": (1,)}
LOGITS = np.random.default_rng(3).normal(0, 4, (1, 64, 64)).astype(np.float32)

CHANGES: Mapping[type[BaseModel], Mapping[str, Change]] = {
    schema.ClipExtractFeaturesParams: {**CLIP_MODEL, **FEATURES, **DENSE_CLIP},
    schema.EncodeTextParams: {**CLIP_MODEL, **TEMPLATES},
    schema.EncodeImageParams: CLIP_MODEL,
    schema.ComputeSimilarityParams: {
        **CLIP_MODEL,
        **DENSE_CLIP,
        **TEMPLATES,
        "softmax": Change(3.0),
        "ret_pca": Change(True, effect=Effect.REFUSED),
        "ret_patches": Change(False),
        "load_size": Change(80),
        "interpolation_mode": Change("nearest", PIXELS),
        "padding_mode": Change("replicate"),
        # Those of features: a map has neither components nor channels.
        "pca_niter": Change(100, effect=Effect.NONE),
        "pca_q_min": Change(0.3, effect=Effect.NONE),
        "pca_q_max": Change(0.6, effect=Effect.NONE),
        "tensor_format": Change("CHW", effect=Effect.NONE),
    },
    schema.EmbedPyramidParams: {
        **CLIP_MODEL,
        "tile_ratio_min": Change(0.5),
        "tile_ratio_max": Change(0.7),
        "tile_levels": Change(3),
        "tile_stride_ratio": Change(0.8),
        "scaled_points": Change(((20, 30.5, 0.5),)),
        "scaled_grid": Change(schema.PyramidGrid(width=2, height=1, scales=(0.5,))),
        "pyramid_dtype": Change("float16"),
    },
    schema.DinoExtractFeaturesParams: {
        **FEATURES,
        "model_type": Change("dinov2_vits14", effect=Effect.MODEL),
        "stride": Change(7),
        "facet": Change("key"),
        "layer": Change(2),
        "bin": Change(True),
    },
    schema.GenerateMasksParams: {
        **SAM2_MODEL,
        "preset": Change("coarse"),
        "points_per_side": Change(3),
        # How many points share a pass; test_sam2_automatic counts them.
        "points_per_batch": Change(7, effect=Effect.NONE),
        "pred_iou_thresh": Change(0.52),
        "stability_score_thresh": Change(0.6),
        "stability_score_offset": Change(0.05),
        "mask_threshold": Change(0.1),
        "box_nms_thresh": Change(0.5),
        "crop_n_layers": Change(0, CROPS),
        "crop_nms_thresh": Change(0.2, CROPS),
        "crop_overlap_ratio": Change(0.6, CROPS),
        "crop_n_points_downscale_factor": Change(2, CROPS),
        "point_grids": Change((((0.3, 0.4), (0.6, 0.7)),), instead_of="points_per_side"),
        "min_mask_region_area": Change(8.0),
        "use_m2m": Change(True),
        "multimask_output": Change(False),
        "output_mode": Change("coco_rle"),
        "mask_encoding": Change("coco_rle"),
    },
    schema.EmbedImageParams: {
        **SAM2_MODEL,
        "ret_embedding": Change(True),
        "embedding_dtype": Change("float32", {"ret_embedding": True}),
    },
    schema.PredictMasksParams: {
        **SAM2_MODEL,
        "multimask_output": Change(False),
        "return_logits": Change(True),
        "normalize_coords": Change(False),
        "mask_threshold": Change(0.2),
        "max_hole_area": Change(12.0),
        "max_sprinkle_area": Change(9.0),
        "mask_encoding": Change("coco_rle"),
        "return_low_res": Change(False),
    },
    schema.Prompt: {
        "point_coords": Change(((90.0, 20.5),), POINT),
        "point_labels": Change((0,), POINT),
        "box": Change((10.0, 12.0, 80.5, 70.0)),
        "mask_input": Change(schema.Tensor(dtype="float32", shape=LOGITS.shape, data=LOGITS.tobytes())),
    },
    schema.TextQuery: {"text": Change(("a blue star",)), "negative_text": Change(("a blue star",))},
    schema.Texts: {"text": Change(("a blue star",))},
}
BASES: Mapping[type[BaseModel], Mapping[str, object]] = {
    schema.ClipExtractFeaturesParams: {"load_size": 48},
    schema.ComputeSimilarityParams: {"load_size": 48},
    schema.EmbedPyramidParams: {
        "tile_ratio_min": 0.4,
        "tile_ratio_max": 0.8,
        "tile_levels": 2,
        "tile_stride_ratio": 1,
    },
    schema.GenerateMasksParams: {**LOOSE, **OPEN},
    schema.TextQuery: {"text": ("a red circle",)},
    schema.Texts: {"text": ("a red circle",)},
}


@pytest.mark.parametrize(
    ("message", "name"),
    [
        pytest.param(each, name, id=f"{each.__name__}.{name}")
        for each in MESSAGES
        for name in each.model_fields
    ],
)
def test_a_field_does_what_it_is_documented_to_do(
    engines: Engines, request: pytest.FixtureRequest, message: type[BaseModel], name: str
) -> None:
    assert name in CHANGES[message], f"CHANGES has no line for {message.__name__}.{name}"
    change = CHANGES[message][name]
    before = {**BASES.get(message, {}), **change.within}
    after = {key: value for key, value in before.items() if key != change.instead_of} | {name: change.value}
    if change.effect is Effect.REFUSED:
        with pytest.raises(ValidationError):
            message(**after)
        return
    old, new = message(**before), message(**after)
    assert getattr(old, name) != getattr(new, name), "the value of this line is no other one"
    if change.effect is Effect.REFUSED_BY_ENGINE:
        with pytest.raises(InvalidFields, match=name):
            answered(engines, request, new)
        return
    if change.effect is Effect.MODEL:
        assert named_models(old) != named_models(new)
        return
    same = equal(*(content(answered(engines, request, each)) for each in (old, new)))
    assert same is (change.effect is Effect.NONE)


def named_models(params: BaseModel) -> list[str]:
    """The models that answer with these parameters."""
    operation = next(each for each in OPERATIONS if each.params is type(params))
    uses = models_of(operation, SimpleNamespace(params=params))
    return [entry_for(use.naming, "default", use.option).key for use in uses]


def answered(engines: Engines, request: pytest.FixtureRequest, given: BaseModel) -> Result:
    """What an engine makes of the message, with everything else as it is by default."""
    operation, params, item, model = asked(given)
    result: Result = models.answer(engines, operation, item, params, request.getfixturevalue(model))
    return result


def beside(picture: bytes, given: schema.FeatureParams) -> FeaturesItem:
    """A picture, with the other one where that is named."""
    return FeaturesItem(picture, together=(OTHER,) if given.pca_digests else ())


def asked(given: BaseModel) -> tuple[str, BaseModel, Item, str]:
    """Operation, parameters, item, and the fixture with the model."""
    picture = models.encoded(models.picture(75, 50))
    query = schema.TextQuery(text=("a red circle",))
    match given:
        case schema.ClipExtractFeaturesParams():
            return EXTRACT_CLIP.rpc, given, beside(picture, given), "demo_clip"
        case schema.EmbedPyramidParams():
            return EMBED_PYRAMID.rpc, given, PictureItem(picture), "demo_clip"
        case schema.ComputeSimilarityParams():
            return COMPUTE_SIMILARITY.rpc, given, QueryItem(picture, query=query), "demo_clip"
        case schema.TextQuery():
            params = schema.ComputeSimilarityParams(load_size=48)
            return COMPUTE_SIMILARITY.rpc, params, QueryItem(picture, query=given), "demo_clip"
        case schema.Texts():
            return ENCODE_TEXT.rpc, schema.EncodeTextParams(), TextItem(given), "demo_clip"
        case schema.EncodeTextParams():
            return ENCODE_TEXT.rpc, given, TextItem(schema.Texts(text=query.text)), "demo_clip"
        case schema.DinoExtractFeaturesParams():
            return EXTRACT_DINO.rpc, given, beside(picture, given), "demo_dino"
        case schema.GenerateMasksParams():
            # Masks of random weights are as large as the picture, which says little about crops.
            in_crops = given.points_per_side == CROPS["points_per_side"]
            size, model = (LARGE, "spotted_sam2") if in_crops else (SIZE, "small_sam2")
            return GENERATE_MASKS.rpc, in_force(given), models.picture_item(*size), model
        case schema.EmbedImageParams():
            return EMBED_IMAGE.rpc, given, PictureItem(picture), "small_sam2"
        case schema.PredictMasksParams() | schema.Prompt():
            point = schema.Prompt(point_coords=((0.4, 0.45), (0.9, 0.2)), point_labels=(1, 1))
            params, prompt = (
                (given, point)
                if isinstance(given, schema.PredictMasksParams)
                else (schema.PredictMasksParams(), given)
            )
            item = PromptItem(models.encoded(models.picture(130, 90)), prompts=(prompt,))
            return PREDICT_MASKS.rpc, params, item, "small_sam2"
    raise AssertionError(f"no engine takes {type(given).__name__}")
