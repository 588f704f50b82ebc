"""What the corpus is made of: drawn pixels of every depth, encoders, the files and what is right of each."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import FILES, OddPicture

Bytes = NDArray[np.uint8]
HEIGHT, WIDTH = 12, 18
RNG = np.random.default_rng(11)
ARITHMETIC, OPENCV = "plain arithmetic", "OpenCV"


def colours() -> Bytes:
    """Smooth colours, the same nowhere twice, so that nothing turned or mirrored looks right."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 14, y * 21, (x + y) * 8], axis=-1).astype(np.uint8)


RGB = colours()
GREY = RGB[:, :, 0]
ALPHA = ((np.mgrid[0:HEIGHT, 0:WIDTH][1] * 15) % 256).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
PALETTE = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
INDICES = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 256).astype(np.uint8)
SIZE = (WIDTH, HEIGHT)


def three(grey: NDArray[np.generic]) -> Bytes:
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def saved(pixels: NDArray[np.generic] | Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_opencv(content: bytes) -> Bytes:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    assert found is not None
    return np.ascontiguousarray(found[:, :, ::-1])


class Corpus:
    """The files as they are made."""

    def __init__(self) -> None:
        self.index: list[OddPicture] = []

    def add(self, name: str, content: bytes, right: Bytes, tolerance: int = 0, orientation: int = 1) -> None:
        """A file whose pixels are known."""
        self._write(OddPicture(name, tolerance, orientation, says=ARITHMETIC), content, right)

    def lossy(self, name: str, content: bytes, tolerance: int = 2, orientation: int = 1) -> None:
        """A file whose right pixels OpenCV knows."""
        self._write(OddPicture(name, tolerance, orientation, says=OPENCV), content, by_opencv(content))

    def refuse(self, name: str, content: bytes, words: str) -> None:
        """A file that is no picture."""
        self._write(OddPicture(name, refused=words), content, None)

    def _write(self, picture: OddPicture, content: bytes, right: Bytes | None) -> None:
        (FILES / picture.name).write_bytes(content)
        if right is not None:
            np.save(FILES / f"{picture.name}.npy", right)
        self.index.append(picture)
