"""Answers as pictures for people."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc_client.drawing import heat_picture, overlay, pca_picture
from featsvc_client.mask_results import Masks
from featsvc_client.results import Features, Similarity

# Any: the answer that the drawing is for; the encoded picture; whether channels come first.
Drawing: TypeAlias = Callable[[Any, bytes, bool], Image.Image | None]

LEAST, MOST = 0.01, 0.99


def features(found: Features, _: bytes, channels_first: bool) -> Image.Image | None:
    """The three strongest principal components as colours; None where features have no place in a grid."""
    grid = np.moveaxis(found.array, 0, 2) if channels_first and found.array.ndim == 3 else found.array
    if grid.ndim != 3:
        return None
    return pca_picture(grid if found.is_pca else components(grid))


def similarity(found: Similarity, _: bytes, __: bool) -> Image.Image:
    """The map of the first text, from its least to its most."""
    return heat_picture(found.array if found.array.ndim == 2 else found.array[0])


def masks(found: Masks, content: bytes, _: bool) -> Image.Image | None:
    """The picture with a colour for each mask; None where only the server can read it."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            return overlay(opened, found)
    except (OSError, Image.DecompressionBombError):
        return None


def components(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """The three strongest principal components of H x W x D, each with its middle 98 % scaled to [0, 1]."""
    flat = grid.reshape(-1, grid.shape[2]).astype(np.float64)
    flat -= flat.mean(axis=0)
    # Of the D x D covariance: pictures have many more places than features have channels, or few enough of both.
    _, vectors = np.linalg.eigh(flat.T @ flat)
    found = flat @ vectors[:, :-4:-1]
    low, high = np.quantile(found, (LEAST, MOST), axis=0)
    scaled = (found - low) / np.where(high > low, high - low, 1.0)
    padded = np.zeros((len(flat), 3))
    padded[:, : scaled.shape[1]] = np.clip(scaled, 0, 1)
    return padded.reshape(*grid.shape[:2], 3).astype(np.float32)


def png(picture: Image.Image) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
