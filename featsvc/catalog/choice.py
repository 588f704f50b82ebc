"""Which model a request means: the one it names, or the default of the profile."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel

from featsvc.catalog.entry import ClipEntry, DinoEntry, Entry, Sam2Entry
from featsvc.catalog.names import catalog, resolve_clip, resolve_dino, resolve_sam2
from featsvc.errors import NotFound, invalid_field
from featsvc.v1 import schema
from featsvc.work.operations import AnyOperation, Family

DEMO = {"clip": "demo-clip", "dino": "demo-dino", "sam2": "demo-sam2"}


def entry_for(params: BaseModel, profile: str, option: str = "") -> Entry:
    """The model of a request. Raises NotFound for unknown names, InvalidFields for contradictory ones.

    `option` is the one that errors name, where that is not one of these.
    """
    named = params.model_fields_set
    if isinstance(params, schema.ClipModel):
        if profile == "demo" and not named & {"model_name", "model_pretrained"}:
            return catalog()[DEMO["clip"]]
        return resolve_clip(params.model_name, params.model_pretrained)
    if isinstance(params, schema.DinoModel):
        if profile == "demo" and "model_type" not in named:
            return catalog()[DEMO["dino"]]
        return resolve_dino(params.model_type, option or "model_type")
    if isinstance(params, schema.Sam2Model):
        return _sam2(params, profile)
    raise NotFound(f"no model answers {type(params).__name__}")


def check_answers(entry: Entry, operation: AnyOperation) -> None:
    """Raises InvalidFields where the model cannot be asked this."""
    if entry.operations is not None and operation not in entry.operations:
        known = ", ".join(each.name for each in entry.operations)
        raise invalid_field(
            f"params.{next(iter(naming(entry)))}",
            f"{entry.key} answers {known}, and not {operation.name}: name another model (ListModels shows them)",
        )


def default_models(profile: str) -> tuple[Entry, ...]:
    """The model of each family that answers where a request names none: CLIP's, DINO's, SAM2's."""
    return tuple(default_of(family, profile) for family in get_args(Family))


def default_of(family: Family, profile: str) -> Entry:
    """The model of a request that names none."""
    params = {"clip": schema.ClipModel(), "dino": schema.DinoModel(), "sam2": schema.Sam2Model()}
    return entry_for(params[family], profile)


def naming(entry: Entry) -> dict[str, str]:
    """The options by which a request names the model."""
    match entry:
        case ClipEntry():
            return {"model_name": entry.model_name, "model_pretrained": entry.pretrained}
        case DinoEntry():
            return {"model_type": entry.key}
        case Sam2Entry():
            file = entry.weights.file_names[0]
            return {"model_cfg": entry.config, "checkpoint_path": f"checkpoints/{file}"}
    return {}


def _sam2(params: schema.Sam2Model, profile: str) -> Entry:
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
