"""The DINO entries: DINO v1, DINOv2 with and without registers, and four plain ViTs of timm."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.catalog.entry import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    DinoEntry,
    HubFile,
    PositionRule,
    WeightFiles,
)

META = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class _Size:
    """A size of ViT: Meta's letter, timm's word, and its parameters in millions."""

    letter: str
    word: str
    millions: float


DINOV2_SIZES = (
    _Size("s", "small", 22.1),
    _Size("b", "base", 86.6),
    _Size("l", "large", 304.4),
    _Size("g", "giant", 1136.5),
)
DINO_SIZES = (_Size("s", "small", 21.7), _Size("b", "base", 85.8))
DINO_FILES = {"s": "dino_deitsmall", "b": "dino_vitbase"}
"""What Meta called the files of DINO v1."""

TIMM_TAGS = {
    "vit_small_patch8_224": "dino",
    "vit_small_patch16_224": "augreg_in21k_ft_in1k",
    "vit_base_patch8_224": "augreg2_in21k_ft_in1k",
    "vit_base_patch16_224": "augreg2_in21k_ft_in1k",
}
"""timm's default weights of the plain ViTs; the small one with patches of 8 has none but DINO's."""


def entries() -> tuple[DinoEntry, ...]:
    """All of them."""
    dino = [_dino(size, patch) for size in DINO_SIZES for patch in (8, 16)]
    dinov2 = [_dinov2(size, registers) for registers in (False, True) for size in DINOV2_SIZES]
    plain = [_plain(size, patch) for size in DINO_SIZES for patch in (8, 16)]
    return (*dino, *dinov2, *plain)


def _dino(size: _Size, patch: int) -> DinoEntry:
    file = f"{DINO_FILES[size.letter]}{patch}_pretrain"
    timm_name = f"vit_{size.word}_patch{patch}_224"
    return DinoEntry(
        key=f"dino_vit{size.letter}{patch}",
        family="dino",
        library="timm",
        architecture=timm_name,
        weights=WeightFiles(
            file_names=(f"{file}.pth", f"{timm_name}.dino.safetensors"),
            hub=_hub(f"timm/{timm_name}.dino"),
            url=f"{META}/dino/{file}/{file}.pth",
        ),
        licence="Apache-2.0",
        nbytes=int(size.millions * 4e6),
        description=f"DINO ViT-{size.letter.upper()}/{patch}, self-supervised on ImageNet",
        patch_size=patch,
        position="dino",
    )


def _dinov2(size: _Size, registers: bool) -> DinoEntry:
    name = f"dinov2_vit{size.letter}14"
    file = f"{name}_reg4_pretrain.pth" if registers else f"{name}_pretrain.pth"
    timm_name = f"vit_{size.word}_patch14_{'reg4_' if registers else ''}dinov2"
    position: PositionRule = "dinov2_reg" if registers else "dinov2"
    return DinoEntry(
        key=f"{name}_reg" if registers else name,
        family="dino",
        library="timm",
        architecture=timm_name,
        weights=WeightFiles(
            file_names=(file, f"{timm_name}.lvd142m.safetensors"),
            hub=_hub(f"timm/{timm_name}.lvd142m"),
            url=f"{META}/dinov2/{name}/{file}",
        ),
        licence="Apache-2.0",
        nbytes=int(size.millions * 4e6),
        description=f"DINOv2 ViT-{size.letter.upper()}/14{' with registers' * registers}, self-supervised",
        position=position,
    )


def _plain(size: _Size, patch: int) -> DinoEntry:
    name = f"vit_{size.word}_patch{patch}_224"
    tag = TIMM_TAGS[name]
    return DinoEntry(
        key=name,
        family="dino",
        library="timm",
        architecture=name,
        weights=WeightFiles(
            file_names=(f"{name}.{tag}.safetensors", f"{name}.safetensors", f"{name}.pth"),
            hub=_hub(f"timm/{name}.{tag}"),
        ),
        licence="Apache-2.0",
        nbytes=int(size.millions * 4e6),
        description=f"Plain ViT of timm, weights {tag}",
        patch_size=patch,
        mean=IMAGENET_MEAN if tag == "dino" else HALF,
        std=IMAGENET_STD if tag == "dino" else HALF,
        position="timm",
    )


def _hub(repository: str) -> tuple[HubFile, ...]:
    return HubFile(repository, "model.safetensors"), HubFile(repository, "pytorch_model.bin")
