"""Where the demo models' files lie, and how their weights are written and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).parents[1]
CONFIGS = FOLDER / "configs"
WEIGHTS = FOLDER / "weights"


def weights_path(model: str) -> Path:
    """The shipped weights of a demo model, such as 'demo-clip'."""
    return WEIGHTS / f"{model}.safetensors"


def write_weights(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Writes a state dict with its floats halved to fp16."""
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    save_file({name: value.contiguous() for name, value in halved.items()}, unfinished)
    # safetensors writes for its owner only, and the server may be another user.
    unfinished.chmod(0o644)
    # A reader sees the old file or the whole new one.
    unfinished.replace(path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict in float32, from fp16 on disk."""
    state = load_file(path)
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
