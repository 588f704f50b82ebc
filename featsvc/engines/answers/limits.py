"""Refuses an answer that no message could carry, before the device works on it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from featsvc.errors import ReplyTooLarge
from featsvc.v1.schema import FeatureDType
from featsvc.work.item import IN_ONE_PIECE, Way
from featsvc.work.options import EngineOptions
from featsvc.work.results import HeightWidth

FLOAT_BYTES = 4


def check_reply(nbytes: int, options: EngineOptions, remedy: str, way: Way = IN_ONE_PIECE) -> None:
    """Raises when a reply of this size cannot be sent; `remedy` says what would make it fit."""
    limit = options.max_chunked_bytes if way.chunked else options.max_reply_bytes
    if nbytes > limit:
        raise ReplyTooLarge(f"the reply would be {nbytes} bytes, at most {limit}: {remedy}")


def check_json(nbytes: int, way: Way, remedy: str) -> None:
    """Raises when arrays of this size are more than a JSON reply may hold."""
    if way.json is not None and nbytes > way.json.max_bytes:
        message = f"the arrays of the reply would be {nbytes} bytes, at most {way.json.max_bytes} in JSON"
        raise ReplyTooLarge(f"{message} (--max-json-bytes): {remedy}")


def check_rounded(count: int, dtype: FeatureDType, options: EngineOptions, remedy: str) -> None:
    """Raises when so many float32 values would take too much memory before they are rounded to another type."""
    held, limit = float_bytes((count,)), max(options.max_chunked_bytes, options.max_reply_bytes)
    if dtype is not FeatureDType.FLOAT32 and held > limit:
        message = f"features are {held} bytes in float32, from which they are rounded, at most {limit}"
        raise ReplyTooLarge(f"{message}: {remedy}")


def check_masks(count: int, size: HeightWidth, options: EngineOptions, remedy: str) -> None:
    """Raises when masks of this height and width, a byte a pixel as they are made, would take too much memory."""
    height, width = size
    nbytes = count * height * width
    if nbytes > options.max_mask_bytes:
        message = f"{count} masks of {width} x {height} pixels take {nbytes} bytes of memory"
        raise ReplyTooLarge(f"{message}, at most {options.max_mask_bytes}: {remedy}")


def float_bytes(shape: Iterable[int]) -> int:
    """Bytes of a float32 tensor."""
    return math.prod(shape) * FLOAT_BYTES


def bitmap_bytes(count: int, height: int, width: int) -> int:
    """Bytes of masks as a message carries them: bits, each row from a byte of its own."""
    return count * height * math.ceil(width / 8)


def label_bytes(height: int, width: int) -> int:
    """Bytes of a map of labels, two a pixel."""
    return 2 * height * width
