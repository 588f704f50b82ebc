"""What the gRPC clients answer about pyramids: vectors of tiles in several sizes, or of points between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from featsvc.codec.timing import Timing
from featsvc.v1 import clip_pb2
from featsvc_client.brief import Brief
from featsvc_client.results import Beside, Rounding, as_float32, sent


@dataclass(frozen=True)
class PyramidLevel:
    """The tiles of one size. Sides and distances are in pixels of the picture as sent."""

    tile_ratio: float
    """Side of a tile as a part of the picture's height, in float32."""
    stride_ratio: float
    """Distance between neighbouring tiles as a part of their side."""
    tile_size: int
    stride: int
    grid_height: int
    grid_width: int
    first_center: float
    """Of the first row and of the first column; 0 is the centre of the first pixel."""

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.grid_height * self.grid_width

    @property
    def ys(self) -> NDArray[np.float64]:
        """Centres of the rows."""
        return self.first_center + self.stride * np.arange(self.grid_height, dtype=np.float64)

    @property
    def xs(self) -> NDArray[np.float64]:
        """Centres of the columns."""
        return self.first_center + self.stride * np.arange(self.grid_width, dtype=np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Pyramid(Brief):
    """Embeddings of tiles of a picture in several sizes, or what they make at points or places of it."""

    raw: NDArray[np.generic]
    """As they were sent: float32, float16, int8 to be scaled, or the bits of bfloat16 as uint16."""
    levels: tuple[PyramidLevel, ...]
    """The smallest tiles first."""
    height: int
    """Of the picture as sent, in pixels."""
    width: int
    model: str
    """Key of the model that answered."""
    image_digest: str = ""
    """Name of the picture: give it instead of the picture in further questions."""
    rounding: Rounding | None = None
    """What was rounded; None for float32."""
    image_orientation: int = 0
    """How its file says that it is to be shown, as EXIF counts; 1 is upright, 0 not told."""
    timing: Timing | None = field(default=None, compare=False, repr=False)
    """What the answer has taken; None where the server does not say."""

    @cached_property
    def array(self) -> NDArray[np.float32]:
        """Vectors of length 1 as float32: all tiles x D, N x D at points, scales x height x width x D of a grid."""
        return as_float32(self.raw, None if self.rounding is None else self.rounding.scale)

    @cached_property
    def grids(self) -> tuple[NDArray[np.float32], ...]:
        """The tiles of each level, H x W x D. Raises ValueError of an answer at points or places."""
        counts = [each.tiles for each in self.levels]
        if self.raw.ndim != 2 or len(self.raw) != sum(counts):
            raise ValueError("these are vectors at points or places: ask without them for those of tiles")
        parts = np.split(self.array, list(accumulate(counts))[:-1])
        return tuple(
            part.reshape(level.grid_height, level.grid_width, -1)
            for part, level in zip(parts, self.levels, strict=True)
        )


def pyramid(reply: clip_pb2.EmbedPyramidResponse, beside: Beside) -> Pyramid:
    """The vectors of an answer."""
    raw, rounding = sent(reply, reply.features, beside.data)
    levels = tuple(
        PyramidLevel(**{each.name: getattr(level, each.name) for each in level.DESCRIPTOR.fields})
        for level in reply.levels
    )
    said = reply.height, reply.width, reply.model, reply.image_digest
    return Pyramid(raw, levels, *said, rounding, reply.image_orientation, beside.timing)
