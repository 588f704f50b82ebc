"""demo-clip as LitServe and Ray Serve get it: texts and pictures in, embeddings out, batched as they like."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from featsvc.catalog import catalog
from tests.bench import networks


class DemoClip:
    """The network with its tokenizer and transform, built once."""

    def __init__(self, threads: int) -> None:
        warnings.simplefilter("ignore")
        torch.set_num_threads(threads)
        entry: Any = catalog()["demo-clip"]
        self._network = networks.clip("demo-clip", "")
        self._tokenizer = networks.tokenizer("demo-clip")
        self._transform = open_clip.image_transform(192, is_train=False, mean=entry.mean, std=entry.std)

    def picture(self, image: str) -> torch.Tensor:
        """A base64 file as the network takes it, 3 x S x S."""
        pixels: torch.Tensor = self._transform(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB"))
        return pixels

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """N x D."""
        found: NDArray[np.float32] = self._network.encode_text(
            self._tokenizer(list(texts)), normalize=True
        ).numpy()
        return found

    @torch.inference_mode()
    def pictures(self, pixels: Sequence[torch.Tensor]) -> NDArray[np.float32]:
        """N x D."""
        found: NDArray[np.float32] = self._network.encode_image(
            torch.stack(list(pixels)), normalize=True
        ).numpy()
        return found


def reply(name: str, row: NDArray[np.float32]) -> dict[str, object]:
    """The documented JSON of one embedding."""
    return {name: base64.b64encode(row.tobytes()).decode(), "shape": [1, len(row)]}
