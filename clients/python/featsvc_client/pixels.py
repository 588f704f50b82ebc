"""The forms in which the pixels of a mask travel. Each is kept as it came and unpacked when it is asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from featsvc.v1 import tensor_pb2
from featsvc_client.brief import Brief
from featsvc_client.errors import damaged
from featsvc_client.results import array


class Pixels(Protocol):
    """The pixels of one mask."""

    def decoded(self) -> NDArray[np.bool_]:
        """The mask, H x W."""


@dataclass(frozen=True, eq=False, repr=False)
class Bitmap(Brief):
    """A tensor of bits, booleans or numbers."""

    tensor: tensor_pb2.Tensor

    def decoded(self) -> NDArray[np.bool_]:
        """The mask, H x W: all that is above 0."""
        found = array(self.tensor)
        return found.view(np.bool_) if found.dtype == np.bool_ else found.astype(np.float32, copy=False) > 0


@dataclass(frozen=True, repr=False)
class Png(Brief):
    """A PNG file of one bit a pixel."""

    content: bytes

    def decoded(self) -> NDArray[np.bool_]:
        """The mask, H x W."""
        try:
            with Image.open(io.BytesIO(self.content), formats=("PNG",)) as picture:
                # Pillow gives booleans of mode "1" as bytes of 255, which numpy's own never are.
                mask: NDArray[np.bool_] = np.asarray(picture.convert("L")) != 0
                return mask
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise damaged(f"no PNG of a mask: {error}") from error


@dataclass(frozen=True, eq=False, repr=False)
class Label(Brief):
    """One number of a label map. Where masks overlap it shows the best of them, so it may be less than the mask was."""

    labels: NDArray[np.uint16]
    """H x W, 0 where there is no mask."""
    number: int

    def decoded(self) -> NDArray[np.bool_]:
        """The mask, H x W."""
        return np.equal(self.labels, self.number)


@dataclass(frozen=True)
class InSummary:
    """Pixels that came with the label map at the end of a stream of masks."""

    number: int

    def decoded(self) -> NDArray[np.bool_]:
        """Raises ValueError, which says where they are."""
        raise ValueError(f"the pixels of this mask are those of the summary: label_map == {self.number}")


def label_map(tensor: tensor_pb2.Tensor) -> NDArray[np.uint16]:
    """The numbers, H x W: 0 where there is no mask, else 1 + its index."""
    found = array(tensor)
    if found.dtype != np.uint16 or found.ndim != 2:
        raise damaged(f"a label map of {found.dtype} and shape {found.shape}")
    return found.view(np.uint16)
