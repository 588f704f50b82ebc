"""From the bytes of an image file to an RGB picture, within limits that hold before anything is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from featsvc.engines.decoding.headers import Header, header
from featsvc.engines.decoding.netpbm import netpbm, pixels
from featsvc.engines.decoding.tones import NoTone, rgb
from featsvc.errors import InvalidFields, OutOfMemory, invalid_field, is_out_of_memory

FIELD = "image"

# What Pillow's decoders raise on damaged files: they parse foreign bytes, and promise no narrower set.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    AssertionError,
    struct.error,
    zlib.error,
)
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows a picture upright, by the number that EXIF has for it."""


@dataclass(frozen=True)
class PictureLimits:
    """What is read at all."""

    formats: tuple[str, ...]
    """By Pillow's names."""
    max_pixels: int


@dataclass(frozen=True)
class Decoded:
    """A picture as RGB, and how its file says that it is to be shown, as EXIF counts."""

    pixels: Image.Image
    orientation: int


def read(content: bytes, limits: PictureLimits, upright: bool) -> Decoded:
    """The picture as RGB, its first frame if it has several; the error says what is wrong with the file.

    `upright` turns it as its EXIF data say; without, pixels are as they are stored. Raises OutOfMemory where the
    file is not to blame.
    """
    return decoded(checked(content, limits), limits, upright)


def decoded(head: Header, limits: PictureLimits, upright: bool) -> Decoded:
    """The same where the header is read already."""
    try:
        picture = _pixels(head, limits)
    except BOMBS:
        raise _too_many_pixels(limits) from None
    except NoTone as error:
        raise invalid_field(FIELD, f"the {head.kind} file {error}") from None
    except UnidentifiedImageError:
        raise _unknown(head, limits) from None
    except DAMAGED as error:
        name = head.kind or "picture"
        # Pillow's decoders say so in words.
        if is_out_of_memory(error) or (isinstance(error, OSError) and "out of memory" in str(error)):
            raise OutOfMemory(f"no memory to decode the {name} file: try a smaller picture") from None
        raise invalid_field(FIELD, f"the {name} file is damaged or cut off: {error}") from None
    return turned(picture, head, upright)


def turned(picture: Image.Image, head: Header, upright: bool) -> Decoded:
    """A picture whose pixels are as they are stored, turned as its file says if `upright` says so."""
    turn = TURNS.get(head.orientation) if upright else None
    return Decoded(picture if turn is None else picture.transpose(turn), head.orientation)


def checked(content: bytes, limits: PictureLimits) -> Header:
    """The header of a file of an allowed format whose size, as far as it is known yet, is within the limit."""
    head = header(content)
    if head.kind and head.kind not in limits.formats:
        raise _unknown(Header("", content), limits)
    if head.size is not None:
        _check_pixels(head.size, limits)
    return head


def _pixels(head: Header, limits: PictureLimits) -> Image.Image:
    if head.kind == "PPM":
        return _netpbm(head, limits)
    with Image.open(
        io.BytesIO(head.content), formats=(head.kind,) if head.kind else limits.formats
    ) as picture:
        _check_pixels(picture.size, limits)
        picture.load()
        return rgb(picture, head)


def _netpbm(head: Header, limits: PictureLimits) -> Image.Image:
    file = netpbm(head.content)
    if file is None:
        raise invalid_field(FIELD, "the header of the PPM file is damaged, or longer than 64 KiB")
    _check_pixels(file.size, limits)
    return Image.fromarray(pixels(head.content, file)).convert("RGB")


def _check_pixels(size: tuple[int, int], limits: PictureLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise invalid_field(FIELD, f"{width} x {height} pixels, at most {limits.max_pixels} in all")
    if width * height == 0:
        raise invalid_field(FIELD, f"{width} x {height} pixels, so there is nothing in it")


def _too_many_pixels(limits: PictureLimits) -> InvalidFields:
    return invalid_field(FIELD, f"more pixels than the limit of {limits.max_pixels}")


def _unknown(head: Header, limits: PictureLimits) -> InvalidFields:
    if head.kind:
        return invalid_field(FIELD, f"a {head.kind} file that is damaged, or of a kind that is not read here")
    return invalid_field(FIELD, f"not a picture in one of the formats {', '.join(limits.formats)}")
