"""What the catalog knows of a model: how it is built, where its weights come from, under which licence."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Literal

from featsvc.work.operations import AnyOperation, Family

PositionRule = Literal["dino", "dinov2", "dinov2_reg", "timm"]
Colours = tuple[float, float, float]

IMAGENET_MEAN: Colours = (0.485, 0.456, 0.406)
IMAGENET_STD: Colours = (0.229, 0.224, 0.225)
HALF: Colours = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class HubFile:
    """One file of a repository of the Hugging Face hub."""

    repository: str
    name: str

    def __post_init__(self) -> None:
        """Have the name kept by Python as one of a path, for huggingface_hub makes one of it whenever it looks."""
        object.__setattr__(self, "name", sys.intern(self.name))


@dataclass(frozen=True)
class WeightFiles:
    """Where the weights of a model come from."""

    file_names: tuple[str, ...]
    """Names accepted in --weights-dir, the publisher's own first."""
    hub: tuple[HubFile, ...] = ()
    """In the order of preference."""
    url: str = ""
    sha256: str = ""
    """Checksum of the file at `url`, or as much of its beginning as the publisher gives; empty if unknown."""
    bundled: str = ""
    """Name of the file in featsvc/demo/weights, for models that are in the repository."""


@dataclass(frozen=True)
class Entry:
    """One model of the catalog."""

    key: str
    family: Family
    library: str
    architecture: str
    weights: WeightFiles
    licence: str
    """Of the weights, as their publisher states it: CC-BY-NC-4.0 of MetaCLIP forbids commercial use."""
    nbytes: int
    """Size of the weights in float32, in bytes, approximately."""
    description: str
    operations: tuple[AnyOperation, ...] | None = field(default=None, kw_only=True)
    """What it can be asked; None for all that is asked of its family."""

    @property
    def health_key(self) -> str:
        """The name under which /health lists the model."""
        return self.key


@dataclass(frozen=True)
class ClipEntry(Entry):
    """An open_clip ViT with one set of weights."""

    model_name: str = ""
    pretrained: str = ""
    quick_gelu: bool = False
    mean: Colours = HALF
    std: Colours = HALF
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    config: str = ""
    """Name of a configuration in featsvc/demo/configs, for a network that open_clip does not know."""
    merges: str = ""
    """Name of the tokenizer's merges in featsvc/demo/configs; empty for CLIP's own."""

    @property
    def health_key(self) -> str:
        """`clip_<model_name>_<model_pretrained>`."""
        return f"clip_{self.model_name}_{self.pretrained}"


@dataclass(frozen=True)
class DinoEntry(Entry):
    """A ViT of timm with one set of weights."""

    patch_size: int = 14
    mean: Colours = IMAGENET_MEAN
    std: Colours = IMAGENET_STD
    position: PositionRule = "dinov2"
    config: str = ""
    """Name of a JSON file in featsvc/demo/configs with arguments of timm.create_model, the architecture's included."""

    @property
    def health_key(self) -> str:
        """`dino_<model_type>_<stride>`, with the stride that a request gets unless it asks for another."""
        return f"dino_{self.key}_{self.patch_size}"


@dataclass(frozen=True)
class Sam2Entry(Entry):
    """A SAM2 network with one set of weights."""

    config: str = ""
    """Path of its configuration in the sam2 package, or the name of one in featsvc/demo/configs."""

    @property
    def health_key(self) -> str:
        """`sam2_hiera_large`, `sam2.1_hiera_large` …; names that do not tell the family get it in front."""
        return self.key if self.key.startswith("sam2") else f"sam2_{self.key}"
