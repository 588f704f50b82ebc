"""Writes clip.json from open_clip's own list of models: `python -m featsvc.catalog.generate_clip`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from torch import nn

TARGET = Path(__file__).parent / "clip.json"

LICENCES = {
    "openai/": "MIT",
    "timm/": "MIT",
    "laion/": "MIT",
    "apple/": "Apple Machine Learning Research Model License",
    "UCSC-VLAA/": "Apache-2.0",
}
NON_COMMERCIAL = "CC-BY-NC-4.0"
"""Of every MetaCLIP, whoever hosts a copy of its weights."""


def reason_against(config: Mapping[str, Any]) -> str:
    """Why this server cannot run a network of open_clip; empty if it can."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    reasons = {
        "its image network is one of timm, not open_clip's own ViT": bool(vision.get("timm_model_name")),
        "its image network is a ResNet, not a ViT": isinstance(vision.get("layers"), list),
        "its image network pools by attention, so its patches are not in the text space": bool(
            vision.get("attentional_pool")
        ),
        "its text network is one of the transformers package": bool(text.get("hf_model_name")),
        # Not a package of this server: a catalog entry whose texts fail would be worth little.
        "its tokenizer needs the transformers package": bool(text.get("hf_tokenizer_name")),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def sha256_of(url: str) -> str:
    """The checksum that publishers write into the address, as open_clip.pretrained reads it."""
    return Path(url).stem.split("-")[-1] if "mlfoundations" in url else ""


def licence_of(name: str, tag: str, hub: str) -> str:
    """The licence that the publisher states."""
    if "metaclip" in tag:
        return NON_COMMERCIAL
    return next(
        (licence for prefix, licence in LICENCES.items() if hub.startswith(prefix)), "see the publisher"
    )


@cache
def parameter_bytes(name: str) -> int:
    """Size of a network in float32, counted without allocating it."""
    with torch.device("meta"):
        model: nn.Module = open_clip.create_model(name, device="meta")
    return sum(each.numel() for each in model.parameters()) * 4


def record(name: str, tag: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """One line of clip.json."""
    source = get_pretrained_cfg(name, tag)
    # OpenAI's own files are TorchScript archives, which hold code; the hub has them as safetensors.
    url = "" if "openaipublic" in source.get("url", "") else source.get("url", "")
    return {
        "model_name": name,
        "pretrained": tag,
        "hub": source.get("hf_hub", ""),
        "url": url,
        "sha256": sha256_of(url),
        "quick_gelu": bool(source.get("quick_gelu") or config.get("quick_gelu")),
        "mean": list(source["mean"]),
        "std": list(source["std"]),
        "interpolation": source["interpolation"],
        "resize_mode": source["resize_mode"],
        "licence": licence_of(name, tag, source.get("hf_hub", "")),
        "nbytes": parameter_bytes(name),
    }


def generated() -> str:
    """What clip.json should hold for the installed open_clip."""
    models: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for name, tag in open_clip.list_pretrained():
        config = open_clip.get_model_config(name)
        reason = reason_against(config)
        if reason:
            refused[name] = reason
        else:
            models.append(record(name, tag, config))
    lines = ",\n".join("    " + json.dumps(each) for each in models)
    refusals = json.dumps(refused, indent=2, sort_keys=True).replace("\n", "\n  ")
    return f'{{\n  "models": [\n{lines}\n  ],\n  "refused": {refusals}\n}}\n'


if __name__ == "__main__":
    TARGET.write_text(generated())
