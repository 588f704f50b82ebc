"""The CLIP entries: every open_clip ViT that this server can run, with each of its pretrained tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from featsvc.catalog.entry import ClipEntry, HubFile, WeightFiles

TABLE = Path(__file__).parent / "clip.json"

HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names that open_clip gives its files on the hub (open_clip.constants)."""


@cache
def table() -> Mapping[str, Any]:
    """What generate_clip wrote: `models`, and `refused` with a reason for each name."""
    loaded: Mapping[str, Any] = json.loads(TABLE.read_text())
    return loaded


def refused() -> Mapping[str, str]:
    """Names that open_clip has and this server cannot run, each with the reason."""
    names: Mapping[str, str] = table()["refused"]
    return names


def entries() -> tuple[ClipEntry, ...]:
    """All of them, in open_clip's order."""
    return tuple(_entry(each) for each in table()["models"])


def _hub_files(address: str) -> tuple[HubFile, ...]:
    """open_clip writes `org/name/file`, or `org/name/` for a file with its default name."""
    if not address:
        return ()
    repository, name = address.rsplit("/", 1)
    if not name:
        return tuple(HubFile(repository, each) for each in HUB_NAMES)
    # As open_clip.pretrained.download_pretrained_from_hf: the safetensors twin first.
    safe = str(PurePosixPath(name).with_suffix(".safetensors"))
    return tuple(HubFile(repository, each) for each in dict.fromkeys((safe, name)))


def _entry(record: Mapping[str, Any]) -> ClipEntry:
    name, tag = record["model_name"], record["pretrained"]
    return ClipEntry(
        key=f"{name}/{tag}",
        family="clip",
        library="open_clip",
        architecture=name,
        weights=WeightFiles(
            file_names=(f"{name}_{tag}.safetensors", f"{name}_{tag}.pt"),
            hub=_hub_files(record["hub"]),
            url=record["url"],
            sha256=record["sha256"],
        ),
        licence=record["licence"],
        nbytes=record["nbytes"],
        description=f"CLIP {name}, trained as {tag}",
        model_name=name,
        pretrained=tag,
        quick_gelu=record["quick_gelu"],
        mean=tuple(record["mean"]),
        std=tuple(record["std"]),
        interpolation=record["interpolation"],
        resize_mode=record["resize_mode"],
    )
