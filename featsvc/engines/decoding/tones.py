"""Whatever a file holds as RGB of 8 bits: grey and colours of any depth, palettes, transparency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.engines.decoding.headers import Header

WHITE = 255
# What rounding may have made of 0 and 1: half a step of the 8 bits that these become.
TOLERANCE = 0.5 / WHITE


class NoTone(ValueError):
    """The numbers of this file mean no certain grey; says what to do."""


def rgb(picture: Image.Image, head: Header) -> Image.Image:
    """The picture, which is decoded. Raises NoTone where its numbers have no agreed white."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and head.kind == "TIFF" and head.bits == 16):
        return _grey(upper_bits(np.asarray(picture), min(head.bits, 16) if head.kind == "TIFF" else 16), head)
    if picture.mode == "I":
        raise NoTone("holds 32-bit integers, in which no number means white: save it with 8 or 16 bits")
    if picture.mode == "F":
        return _grey(from_floats(np.asarray(picture)), head)
    if picture.mode == "LAB":
        raise NoTone("holds L*a*b* colours: save it as RGB")
    if picture.mode == "P" and isinstance(picture.info.get("transparency"), bytes):
        # Pillow warns about transparency lost from a palette; by way of RGBA the colours are the same.
        return picture.convert("RGBA").convert("RGB")
    return picture.convert("RGB")


def upper_bits(values: NDArray[np.generic], bits: int = 16) -> NDArray[np.uint8]:
    """The upper 8 of so many bits, as OpenCV's IMREAD_COLOR has them: of signed numbers too, as if they had no sign."""
    unsigned: NDArray[np.uint16] = values.astype(np.uint16, copy=False)
    return (unsigned >> (bits - 8)).astype(np.uint8)


def from_floats(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Grey or colours from 0 to 1, rounded. Raises NoTone where there are others."""
    low, high = float(values.min()), float(values.max())
    # A NaN is in no interval.
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        shown = f"from {low:g} to {high:g}" if np.isfinite((low, high)).all() else "that are not finite"
        raise NoTone(
            f"holds floating-point numbers {shown}; they are taken from 0 (black) to 1 (white): scale them so, "
            "or save it with 8 or 16 bits"
        )
    grey: NDArray[np.uint8] = np.rint(values.clip(0, 1) * WHITE).astype(np.uint8)
    return grey


def _grey(values: NDArray[np.uint8], head: Header) -> Image.Image:
    return Image.fromarray(WHITE - values if head.is_inverted else values).convert("RGB")
