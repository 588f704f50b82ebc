"""From the names in a request to a model of the catalog. No name ever becomes a path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType

from featsvc.catalog import clip, demo, dino, sam2
from featsvc.catalog.entry import ClipEntry, DinoEntry, Entry, Sam2Entry
from featsvc.errors import InvalidArgument, NotFound

PREFERRED_TAG = "openai"


@cache
def catalog() -> Mapping[str, Entry]:
    """Every entry under its key."""
    every = (demo.CLIP, demo.DINO, demo.SAM2, *dino.entries(), *sam2.entries(), *clip.entries())
    return MappingProxyType({entry.key: entry for entry in every})


def entry_of(key: str) -> Entry:
    """The entry with this key."""
    if key not in catalog():
        raise NotFound(f"no model is called {key!r}{_suggestion(key, catalog())}")
    return catalog()[key]


@cache
def _clip_tags() -> Mapping[str, tuple[str, ...]]:
    tags: dict[str, tuple[str, ...]] = {}
    for entry in clip.entries():
        tags[entry.model_name] = (*tags.get(entry.model_name, ()), entry.pretrained)
    return MappingProxyType(tags)


def resolve_clip(model_name: str, model_pretrained: str = "") -> ClipEntry:
    """The CLIP model of an open_clip name and tag; without a tag openai's, or else its first."""
    if model_name == demo.CLIP.model_name:
        return demo.CLIP
    # open_clip takes ViT-B/32 for ViT-B-32, and any case and dashes in tags.
    name, tag = model_name.replace("/", "-"), model_pretrained.lower().replace("-", "_")
    if name in clip.refused():
        raise NotFound(f"model_name: {model_name!r} is not served: {clip.refused()[name]}")
    tags = _clip_tags().get(name)
    if tags is None:
        known = (demo.CLIP.model_name, *_clip_tags())
        raise NotFound(f"model_name: no CLIP model is called {model_name!r}{_suggestion(model_name, known)}")
    if not tag:
        tag = PREFERRED_TAG if PREFERRED_TAG in tags else tags[0]
    if tag not in tags:
        choice = ", ".join(tags)
        raise NotFound(
            f"model_pretrained: {model_name!r} has no weights called {model_pretrained!r}; it has {choice}"
        )
    entry = catalog()[f"{name}/{tag}"]
    if not isinstance(entry, ClipEntry):
        raise NotFound(f"model_name: {model_name!r} is no CLIP model")
    return entry


def resolve_dino(model_type: str, option: str = "model_type") -> DinoEntry:
    """The DINO model of a name, which stood in this option."""
    entry = catalog().get(model_type)
    if not isinstance(entry, DinoEntry):
        known = [key for key, each in catalog().items() if each.family == "dino"]
        raise NotFound(f"{option}: no DINO model is called {model_type!r}{_suggestion(model_type, known)}")
    return entry


def resolve_sam2(model_cfg: str = "", checkpoint_path: str = "") -> Sam2Entry:
    """The SAM2 model that a configuration's or a checkpoint's name means, or both, then of the same model."""
    given = {"model_cfg": model_cfg, "checkpoint_path": checkpoint_path}
    keys = {field: _sam2_key(field, name) for field, name in given.items() if name}
    if not keys:
        raise NotFound("model_cfg: name a SAM2 configuration or a checkpoint")
    if len(set(keys.values())) > 1:
        # Each is right by itself, so no field is wrong: REST answers 400, as documented.
        raise InvalidArgument(
            f"model_cfg {model_cfg!r} is {keys['model_cfg']}, but checkpoint_path {checkpoint_path!r} is "
            f"{keys['checkpoint_path']}: name one model, or only one of the two"
        )
    entry = catalog()[next(iter(keys.values()))]
    if not isinstance(entry, Sam2Entry):
        raise NotFound(f"model_cfg: {entry.key!r} is no SAM2 model")
    return entry


def _sam2_key(field: str, name: str) -> str:
    bare = re.split(r"[/\\]", name)[-1].lower()
    bare = re.sub(r"\.(ya?ml|pt|pth|safetensors)$", "", bare)
    if bare not in sam2.names():
        raise NotFound(f"{field}: no SAM2 model is called {name!r}{_suggestion(bare, sam2.names())}")
    return sam2.names()[bare]


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; close ones: {', '.join(close)}" if close else "; `featsvc models list` names them all"
