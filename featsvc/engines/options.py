"""What a worker process tells its engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000", "ICO")


@dataclass(frozen=True)
class EngineOptions:
    """Device, limits, and where weights are."""

    device: str = "cpu"
    """"cpu", or a GPU as torch names it: "cuda:0"."""
    threads: int = 1
    precision: Precision = "fp32"
    """Type of the weights; norms and answers are float32 whatever it is."""
    compile: bool = False
    """Compile networks when they are loaded, for their usual sizes."""
    weights_dir: str | None = None
    offline: bool = False
    max_image_bytes: int = 32 << 20
    max_image_pixels: int = 64_000_000
    image_formats: tuple[str, ...] = IMAGE_FORMATS
    """Names as Pillow has them."""
    max_reply_bytes: int = 64 << 20
    max_chunked_bytes: int = 2 << 30
    """Of a reply that goes in parts."""
    embedding_cache_bytes: int = 1 << 30
    """Embeddings of pictures that SAM2 keeps for further prompts; 0 keeps none."""
    text_cache_bytes: int = 64 << 20
    """Embeddings of texts that CLIP keeps; 0 keeps none."""
    max_cells: int = 1 << 16
    """Cells of a feature grid: attention takes time with their square."""
    max_points: int = 1 << 16
    """Points of automatic masks, over all crops."""
    max_mask_bytes: int = 2 << 30
    """Full-size masks of one answer in memory, a byte a pixel: eight times what their bits take in a message."""
    max_feature_bytes: int = 512 << 20
    """Features of which principal components are taken; the answer holds only those, so no other limit sees them."""
    max_word_letters: int = 128
    """Letters of one word of a text: making tokens of it takes time with their square."""
    max_pca_side: int = 4096
    """The smaller of cells and channels where principal components are taken: their time goes with its cube."""
