"""The local caches that other programs filled: Hugging Face's, torch hub's and CLIP's."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub

from featsvc.catalog.entry import HubFile
from featsvc.catalog.paths import last_part, path

TORCH_HUB = Path("~/.cache/torch/hub/checkpoints")
CLIP = Path("~/.cache/clip")


def in_hub_cache(file: HubFile) -> Path | None:
    """A file that huggingface_hub downloaded before."""
    cached = huggingface_hub.try_to_load_from_cache(file.repository, file.name)
    return path(*os.path.split(cached)) if isinstance(cached, str) else None


def in_url_caches(url: str) -> Path | None:
    """A file that torch.hub or open_clip downloaded from this address before, named as its last part."""
    name = last_part(url)
    files = (path(os.path.expanduser(folder), name) for folder in (TORCH_HUB, CLIP)) if name else ()
    return next((file for file in files if file.is_file()), None)
