"""The demo entries: tiny networks of the same three libraries, with weights in the repository."""

from __future__ import annotations

from pathlib import Path

from featsvc.catalog.entry import ClipEntry, DinoEntry, Sam2Entry, WeightFiles

FOLDER = Path(__file__).parents[1] / "demo"
CONFIGS = FOLDER / "configs"
WEIGHTS = FOLDER / "weights"

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

CLIP = ClipEntry(
    key="demo-clip",
    family="clip",
    library="open_clip",
    architecture="demo-clip",
    weights=WeightFiles(file_names=("demo-clip.safetensors",), bundled="demo-clip.safetensors"),
    licence="Apache-2.0",
    nbytes=7_000_000,
    description="Tiny CLIP trained on pictures of coloured shapes that this package draws",
    model_name="demo-clip",
    pretrained="demo",
    quick_gelu=True,
    mean=OPENAI_MEAN,
    std=OPENAI_STD,
    config="demo-clip.json",
    merges="demo-clip-merges.txt.gz",
)

DINO = DinoEntry(
    key="demo-dino",
    family="dino",
    library="timm",
    architecture="vit_small_patch14_dinov2",
    weights=WeightFiles(file_names=("demo-dino.safetensors",), bundled="demo-dino.safetensors"),
    licence="Apache-2.0",
    nbytes=5_200_000,
    description="Tiny network of DINOv2's kind, trained on drawn shapes with labels (supervised)",
    position="dinov2",
    config="demo-dino.json",
)

SAM2 = Sam2Entry(
    key="demo-sam2",
    family="sam2",
    library="sam2",
    architecture="hiera",
    weights=WeightFiles(file_names=("demo-sam2.safetensors",), bundled="demo-sam2.safetensors"),
    licence="Apache-2.0",
    nbytes=10_000_000,
    description="Tiny SAM2 for pictures of 256 pixels, trained on shapes that this package draws",
    config="demo-sam2.yaml",
)
