"""A basis of principal components, and the name that carries it from one answer to the next question."""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.engines.answers.limits import FLOAT_BYTES
from featsvc.errors import InvalidFields, invalid_field

COMPONENTS = 3
FORM = "pca1"
"""Begins each name; another form of the content would have another."""
FIELD = "params.pca_basis"
MOST_SHOWN = 100
"""Letters of what another basis is of."""


@dataclass(frozen=True)
class Basis:
    """From features to colours; all in float64, in the host's memory."""

    mean: Tensor
    """D: what is taken off."""
    axes: Tensor
    """D x 3."""
    low: NDArray[np.float64]
    """What becomes 0 of each component."""
    high: NDArray[np.float64]
    """What becomes 1; a component that is not there has the same of both, and is 0 everywhere."""
    divide: Tensor | None = None
    """D + 1: a cell is of the foreground where its features times the first D are above the last; None: all are."""

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        own = self.mean.nbytes + self.axes.nbytes + self.low.nbytes + self.high.nbytes
        return own + (0 if self.divide is None else self.divide.nbytes)

    def rounded(self) -> Basis:
        """As its name carries it, in float32."""
        return _of(self._flat(), len(self.mean))

    def name(self, space: str) -> str:
        """A name that carries it; `space` says of what model and which reading the features are."""
        content = self._flat().astype("<f4").tobytes()
        text = base64.urlsafe_b64encode(content).decode().rstrip("=")
        return f"{FORM}:{space}:{text}:{_check(space, content)}"

    def _flat(self) -> NDArray[np.float32]:
        parts = [self.mean.numpy(), self.axes.T.numpy().ravel(), self.low, self.high]
        parts += [] if self.divide is None else [self.divide.numpy()]
        return np.concatenate(parts).astype(np.float32)


def named(name: str, space: str, channels: int) -> Basis:
    """The basis that a name carries; refuses one that is damaged, or fits no features of this kind."""
    form, _, rest = name.partition(":")
    theirs, _, rest = rest.rpartition(":")[0].rpartition(":")
    if form != FORM or not theirs or not rest:
        raise invalid_field(FIELD, "is no name of a basis: send `pca_basis` of an earlier answer as it came")
    try:
        content = base64.b64decode(rest + "=" * (-len(rest) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        raise _damaged() from None
    if name.rpartition(":")[2] != _check(theirs, content):
        raise _damaged()
    if theirs != space:
        message = f"is of the features {theirs[:MOST_SHOWN]}, and these are {space}: ask for the same"
        raise invalid_field(FIELD, message)
    # Anybody can make a name whose checksum is right.
    count = (1 + COMPONENTS) * channels + 2 * COMPONENTS
    if len(content) not in (FLOAT_BYTES * count, FLOAT_BYTES * (count + channels + 1)):
        raise _damaged()
    flat = np.frombuffer(content, "<f4")
    if not np.isfinite(flat).all():
        raise _damaged()
    return _of(flat, channels)


def _of(flat: NDArray[np.float32], channels: int) -> Basis:
    values = flat.astype(np.float64)
    mean, axes, low, high, divide = np.split(
        values, np.cumsum([channels, COMPONENTS * channels, COMPONENTS, COMPONENTS])
    )
    columns = torch.from_numpy(axes.reshape(COMPONENTS, channels)).T
    return Basis(
        torch.from_numpy(mean), columns, low, high, torch.from_numpy(divide) if len(divide) else None
    )


def _check(space: str, content: bytes) -> str:
    return f"{zlib.crc32(content, zlib.crc32(space.encode())):08x}"


def _damaged() -> InvalidFields:
    return invalid_field(FIELD, "is damaged: send `pca_basis` of an earlier answer as it came")
