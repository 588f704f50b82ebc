"""From the bytes of an image file to an RGB picture, within limits that hold before anything is decoded."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, UnidentifiedImageError

from featsvc.engines.options import EngineOptions
from featsvc.errors import InvalidFields, invalid_field

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


def decoded(content: bytes, options: EngineOptions) -> Image.Image:
    """The picture as RGB, its first frame if it has several; the error says what is wrong with the file.

    Like most vision code it takes the pixels as they are stored: EXIF orientation is not applied.
    """
    if not content:
        raise invalid_field(FIELD, "is empty")
    if len(content) > options.max_image_bytes:
        raise invalid_field(FIELD, f"{len(content)} bytes, at most {options.max_image_bytes}")
    with _opened(content, options) as picture:
        _check_pixels(picture.size, options)
        try:
            picture.load()
            return _rgb(picture)
        except BOMBS:
            raise _too_many_pixels(options) from None
        except DAMAGED as error:
            raise invalid_field(FIELD, f"the {picture.format} file is damaged or cut off: {error}") from None


def _opened(content: bytes, options: EngineOptions) -> Image.Image:
    """Reads the header only."""
    try:
        return Image.open(io.BytesIO(content), formats=options.image_formats)
    except BOMBS:
        raise _too_many_pixels(options) from None
    except UnidentifiedImageError:
        names = ", ".join(options.image_formats)
        raise invalid_field(FIELD, f"not a picture in one of the formats {names}") from None
    except DAMAGED as error:
        raise invalid_field(FIELD, f"not a readable picture: {error}") from None


def _check_pixels(size: tuple[int, int], options: EngineOptions) -> None:
    width, height = size
    if width * height > options.max_image_pixels:
        raise invalid_field(FIELD, f"{width} x {height} pixels, at most {options.max_image_pixels} in all")
    if width * height == 0:
        raise invalid_field(FIELD, f"{width} x {height} pixels, so there is nothing in it")


def _too_many_pixels(options: EngineOptions) -> InvalidFields:
    return invalid_field(FIELD, f"more pixels than the limit of {options.max_image_pixels}")


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "P" and isinstance(picture.info.get("transparency"), bytes):
        # Pillow warns about transparency lost from a palette; by way of RGBA the colours are the same.
        return picture.convert("RGBA").convert("RGB")
    return picture.convert("RGB")
