"""What a worker process tells its engines."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000", "ICO")


@dataclass(frozen=True)
class EngineOptions:
    """Device, limits, and where weights are."""

    device: str = "cpu"
    """"cpu", or a GPU as torch names it: "cuda:0"."""
    threads: int = 1
    weights_dir: str | None = None
    offline: bool = False
    max_image_bytes: int = 32 << 20
    max_image_pixels: int = 64_000_000
    image_formats: tuple[str, ...] = IMAGE_FORMATS
    """Names as Pillow has them."""
    max_reply_bytes: int = 64 << 20
    max_cells: int = 1 << 16
    """Cells of a feature grid: attention takes time with their square."""
    max_points: int = 1 << 16
    """Points of automatic masks, over all crops."""
    precision: str = "fp32"
