"""Random weights under the file names that the catalog expects: `python -m tests.bench.weights FOLDER`.

Speed depends on the architecture, not on what it has learnt, except where answers are filtered: see calibration.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from featsvc.catalog import catalog
from featsvc.catalog.entry import ClipEntry, DinoEntry, Entry, Sam2Entry
from featsvc.engines.clip import model as clip_model
from featsvc.engines.dino import model as dino_model
from featsvc.engines.sam2 import model as sam2_model
from tests.bench.calibration import calibrate

CLIP = "ViT-B-16/openai"
DINO = "dinov2_vits14"
SAM2 = "sam2.1_hiera_tiny"
SEED = 20
PREFERRED = (".safetensors", ".pt", ".pth")


def file_name(entry: Entry) -> str:
    """The accepted name in a format that holds plain tensors."""
    by_suffix = {Path(name).suffix: name for name in reversed(entry.weights.file_names)}
    return next(by_suffix[suffix] for suffix in PREFERRED if suffix in by_suffix)


def network_of(entry: Entry) -> nn.Module:
    """The seeded network of an entry."""
    torch.manual_seed(SEED)
    match entry:
        case ClipEntry():
            clip: nn.Module = clip_model.built(entry)
            return clip
        case DinoEntry():
            return _lively(dino_model.built(entry))
        case Sam2Entry():
            sam2: nn.Module = sam2_model.built(entry)
            return sam2.eval().requires_grad_(False)
    raise TypeError(type(entry).__name__)


def _lively(network: nn.Module) -> nn.Module:
    """A DINOv2 whose blocks matter: layer scale starts so small that they would hardly change their tokens."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.5)
            elif name in ("pos_embed", "cls_token"):
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return network


def save(network: nn.Module, path: Path) -> None:
    """The network's weights as its publisher writes them."""
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state}, path)


def write(folder: Path) -> dict[str, object]:
    """Writes what is not there yet; what calibration found is in calibration.json beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = folder / "calibration.json"
    for key in (CLIP, DINO, SAM2):
        entry = catalog()[key]
        path = folder / file_name(entry)
        if path.exists() and (key != SAM2 or facts.exists()):
            continue
        network = network_of(entry)
        if isinstance(entry, Sam2Entry):
            facts.write_text(json.dumps(calibrate(network)))
        save(network, path)
    found: dict[str, object] = json.loads(facts.read_text())
    return found


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps(write(Path(sys.argv[1]))))
