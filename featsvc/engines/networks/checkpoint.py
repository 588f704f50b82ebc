"""Weights files to state dicts, and state dicts into networks. A file can hold numbers only, never code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Hashable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from featsvc.errors import WeightsMissing

State = dict[str, Tensor]

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    LookupError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
)
WRAPPERS = ("model", "state_dict")
"""Keys under which publishers put the state dict itself."""


def read_state(path: Path) -> State:
    """The tensors of a file, floats as float32."""
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else _mapped(path)
    except UNREADABLE as error:
        # torch's messages name the path; the file's name is all a caller may know.
        raise WeightsMissing(
            f"{path.name} cannot be read as weights ({type(error).__name__}): it is damaged, cut off, "
            "or holds code; fetch it again"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsMissing(f"{path.name} holds something other than a state dict: fetch it again")
    return {name: value.float() if value.is_floating_point() else value for name, value in loaded.items()}


def _mapped(path: Path) -> object:
    """What torch has saved, as pages of the file that all workers share; a file of a torch before 1.6 is copied."""
    return torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def without_prefix(state: State, prefix: str) -> State:
    """The same tensors with the prefix taken off, if all names have it."""
    if state and all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def file_identity(path: Path) -> Hashable:
    """What tells a file from another one that took its place."""
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


def fill(network: nn.Module, state: State, file_name: str) -> None:
    """Loads a state dict; a network that it does not fit exactly is an error that says how."""
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    extra = [name for name in state if name not in own]
    shaped = [name for name in own if name in state and own[name].shape != state[name].shape]
    for names, what in ((missing, "lacks"), (extra, "has besides"), (shaped, "has in another shape")):
        if names:
            raise WeightsMissing(
                f"{file_name} does not fit: it {what} {len(names)} tensors, {names[0]!r} the first: "
                "it may be another model's"
            )
    network.load_state_dict(state)
