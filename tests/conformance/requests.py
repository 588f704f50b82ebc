"""What the cases are made of: pictures, models, and the requests about them."""

from __future__ import annotations

from typing import Any

from featsvc.v1 import schema
from tests.conformance.pictures import encoded, grey, scene
from tests.parts import parts

# Any: requests as protobuf JSON.
Json = dict[str, Any]

CLIP, DINO, SAM2, OBJECT, MODEL = (
    f"featsvc.v1.{name}Service" for name in ("Clip", "Dino", "Sam2", "Object", "Model")
)
SCENE: Json = {"content": encoded(scene())}
GREY: Json = {"content": encoded(grey())}
DEMO_CLIP: Json = {"model_name": "demo-clip", "model_pretrained": "demo"}
DEMO_DINO: Json = {"model_type": "demo-dino"}
DEMO_SAM2: Json = {"model_cfg": "demo-sam2"}
SMALL: Json = {"load_size": 64}
FEATURE_DTYPES = ("FLOAT32", "FLOAT16", "BFLOAT16", "INT8")
MASK_ENCODINGS = ("BITS", "COCO_RLE", "PNG", "LABEL_MAP", "FLOAT32")
ON_CIRCLE: Json = {"point_coords": [{"x": 24, "y": 32}], "point_labels": [1]}
AROUND_SQUARE: Json = {"box": {"x0": 54, "y0": 16, "x1": 86, "y1": 48}}
TWO_POINTS: Json = {
    "point_grids": [{"points": [{"x": 0.25, "y": 0.5}, {"x": 0.73, "y": 0.5}]}],
    "pred_iou_thresh": 0,
    "stability_score_thresh": 0,
}
NOBODY = "sha256:" + "0" * 64
POOLED: Json = {"clip": {"model": DEMO_CLIP, "params": SMALL}, "pooled": {}}
CROPPED: Json = {"dino": {"model": DEMO_DINO}, "crop": {"squaring": "SQUARING_PAD"}}
BLACKENED: Json = {"clip": {"model": DEMO_CLIP}, "crop": {"background": "BACKGROUND_BLACK"}}
BOXES: Json = {"boxes": [{"x0": 8, "y0": 16, "x1": 41, "y1": 49}, {"x0": 56, "y0": 18, "x1": 85, "y1": 47}]}


def clip(image: Json = SCENE, **params: Any) -> Json:
    """Dense features of the demo model."""
    return {"image": image, **parts(schema.ClipExtractFeaturesParams, {**DEMO_CLIP, **SMALL, **params})}


def dino(image: Json = SCENE, **params: Any) -> Json:
    """The same of DINO."""
    return {"image": image, **parts(schema.DinoExtractFeaturesParams, {**DEMO_DINO, **params})}


def pyramid(**params: Any) -> Json:
    """Tiles of two sizes."""
    cut = {"tile_ratio_min": 0.4, "tile_ratio_max": 0.9, "tile_levels": 2}
    return {"image": SCENE, **parts(schema.EmbedPyramidParams, {**DEMO_CLIP, **cut, **params})}


def prompted(*prompts: Json, image: Json = SCENE, **params: Any) -> Json:
    """Masks of prompts."""
    held = parts(schema.PredictMasksParams, {**DEMO_SAM2, **params})
    return {"image": image, "prompts": list(prompts), **held}


def automatic(**params: Any) -> Json:
    """Masks of two points."""
    return {"image": SCENE, **parts(schema.GenerateMasksParams, {**DEMO_SAM2, **TWO_POINTS, **params})}


def described(source: Json | None = None, **params: Any) -> Json:
    """Objects of the demo models: of two points, unless a source is given."""
    options = {**DEMO_SAM2, **TWO_POINTS, "mask_encoding": "MASK_ENCODING_COCO_RLE", **params}
    held = parts(schema.DescribeObjectsParams, options)
    return {"image": SCENE, **({} if source is None else {"source": source}), **held}


def sought(*texts: str, **params: Any) -> Json:
    """Objects that texts name."""
    options = {**DEMO_SAM2, **TWO_POINTS, "describe": [BLACKENED], **params}
    return {"image": SCENE, "query": {"text": texts}, **parts(schema.FindObjectsParams, options)}
