"""PBM, PGM, PPM and PFM files. Pillow reads most of them pixel by pixel in Python, and scales none to 8 bits."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featsvc.engines.decoding.tones import from_floats, upper_bits

SPACE = rb"(?:\s|#[^\n\r]*[\n\r])"
BITMAP = re.compile(rb"P([14])" + SPACE + rb"+(\d{1,9})" + SPACE + rb"+(\d{1,9})\s")
TONES = re.compile(rb"P([2356])" + SPACE + rb"+(\d{1,9})" + SPACE + rb"+(\d{1,9})" + SPACE + rb"+(\d{1,9})\s")
FLOATS = re.compile(rb"P([fF])\s+(\d{1,9})\s+(\d{1,9})\s+(-?[0-9.eE+-]{1,32})\s")
COMMENT = re.compile(rb"#[^\n\r]*")
TEXT_KINDS = (b"1", b"2", b"3")
COLOURED = (b"3", b"6", b"F")
LARGEST = 65535
LONGEST_HEADER = 1 << 16  # comments included


@dataclass(frozen=True)
class Netpbm:
    """A header of this family, and where its pixels begin."""

    kind: bytes
    """The letter after the P."""
    size: tuple[int, int]
    white: float
    """The number that means white; of floats the scale, negative where they are little-endian."""
    begin: int

    @property
    def is_text(self) -> bool:
        """Whether its pixels are written out as text."""
        return self.kind in TEXT_KINDS


def netpbm(content: bytes) -> Netpbm | None:
    """The header, or None where this is none, or one with comments without end."""
    start = content[:LONGEST_HEADER]
    match = BITMAP.match(start) or TONES.match(start) or FLOATS.match(start)
    if match is None:
        return None
    kind, width, height, *white = match.groups()
    try:
        scale = float(white[0]) if white else 1.0
    except ValueError:
        return None
    if kind in b"2356" and not 1 <= scale <= LARGEST:
        return None
    if kind in b"fF" and not 0 < abs(scale) < math.inf:  # its sign says the order of the bytes
        return None
    return Netpbm(kind, (int(width), int(height)), scale, match.end())


def pixels(content: bytes, head: Netpbm) -> NDArray[np.uint8]:
    """H x W of grey or H x W x 3. Raises ValueError where pixels are missing, NoTone as `from_floats` does."""
    width, height = head.size
    channels = 3 if head.kind in COLOURED else 1
    shape = (height, width, 3) if channels == 3 else (height, width)
    count = width * height * channels
    if head.kind == b"4":
        rows = _read(content, head, np.dtype(np.uint8), height * -(-width // 8)).reshape(height, -1)
        return np.uint8(255) * (1 - np.unpackbits(rows.view(np.uint8), axis=1, count=width))
    if head.kind in b"fF":
        order = "<f4" if head.white < 0 else ">f4"
        # Its rows go from the bottom to the top.
        values = _read(content, head, np.dtype(order), count).astype(np.float32, copy=False)
        return from_floats(values.reshape(shape)[::-1])
    whole = _written_out(content, head, count) if head.is_text else _read(content, head, _kept(head), count)
    return _scaled(whole.reshape(shape), head)


def _kept(head: Netpbm) -> np.dtype[np.generic]:
    return np.dtype(np.uint8 if head.white < 256 else ">u2")


def _read(content: bytes, head: Netpbm, dtype: np.dtype[np.generic], count: int) -> NDArray[np.generic]:
    if len(content) - head.begin < count * dtype.itemsize:
        raise ValueError("pixels are missing at its end")
    return np.frombuffer(content, dtype, count, head.begin)


def _written_out(content: bytes, head: Netpbm, count: int) -> NDArray[np.uint16]:
    text = content[head.begin :]
    if b"#" in text:
        text = COMMENT.sub(b" ", text)
    if head.kind == b"1":
        # Its digits need no blanks between them, and 1 is black.
        digits = np.frombuffer(text.translate(None, b" \t\n\r\v\f"), np.uint8)[:count] - ord("0")
        if digits.size < count or digits.max() > 1:
            raise ValueError("its pixels are not all written as 0 or 1")
        return 1 - digits.astype(np.uint16)
    try:
        # All of them: told how many, it would make up those that are missing.
        values = np.fromstring(text, np.int64, sep=" ")[:count]
    except ValueError:
        values = np.empty(0, np.int64)
    if values.size < count or values.min() < 0:
        raise ValueError("its pixels are not all written as numbers")
    return np.minimum(values, int(head.white)).astype(np.uint16)


def _scaled(values: NDArray[np.generic], head: Netpbm) -> NDArray[np.uint8]:
    """From 0 to the file's own white, to 0 to 255."""
    white = int(head.white)
    if white == 255:
        return values.astype(np.uint8, copy=False)
    if white == LARGEST:
        return upper_bits(values)
    bounded = np.minimum(values.astype(np.uint32), white)
    if white < 255:
        return ((bounded * 255 + white // 2) // white).astype(np.uint8)
    # By way of 16 bits, so that a wider file has the same greys.
    return upper_bits((bounded * LARGEST + white // 2) // white)
