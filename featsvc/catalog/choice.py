"""Which model a request means: the one it names, or the default of the profile."""

from __future__ import annotations

from pydantic import BaseModel

from featsvc.catalog.entry import Entry
from featsvc.catalog.names import catalog, resolve_clip, resolve_dino, resolve_sam2
from featsvc.errors import NotFound
from featsvc.v1 import schema

ClipParams = (
    schema.ClipExtractFeaturesParams
    | schema.EncodeTextParams
    | schema.ComputeSimilarityParams
    | schema.EncodeImageParams
)
Sam2Params = schema.GenerateMasksParams | schema.PredictMasksParams | schema.EmbedImageParams
DEMO = {"clip": "demo-clip", "dino": "demo-dino", "sam2": "demo-sam2"}


def chosen(params: BaseModel, profile: str) -> Entry:
    """The model of a request. Raises NotFound for unknown names, InvalidFields for contradictory ones."""
    given = params.model_fields_set
    if isinstance(params, ClipParams):
        if profile == "demo" and not given & {"model_name", "model_pretrained"}:
            return catalog()[DEMO["clip"]]
        return resolve_clip(params.model_name, params.model_pretrained)
    if isinstance(params, schema.DinoExtractFeaturesParams):
        if profile == "demo" and "model_type" not in given:
            return catalog()[DEMO["dino"]]
        return resolve_dino(params.model_type)
    if isinstance(params, Sam2Params):
        return _sam2(params, profile)
    raise NotFound(f"no model answers {type(params).__name__}")


def _sam2(params: Sam2Params, profile: str) -> Entry:
    # One of the two names is enough: the default of the other must not contradict it.
    named = {
        name: getattr(params, name)
        for name in ("model_cfg", "checkpoint_path")
        if name in params.model_fields_set
    }
    if named:
        return resolve_sam2(**named)
    if profile == "demo":
        return catalog()[DEMO["sam2"]]
    return resolve_sam2(params.model_cfg, params.checkpoint_path)
