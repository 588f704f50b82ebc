"""Files become pictures, or an error that says what is wrong with them; nothing is decoded before the limits."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from featsvc.engines.options import EngineOptions
from featsvc.engines.pictures import decoded
from featsvc.errors import InvalidFields
from tests.engines import models

OPTIONS = EngineOptions()
RGB = models.picture(20, 12)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG"])
def test_a_picture_of_any_allowed_format_is_read(file_format: str) -> None:
    got = decoded(models.encoded(RGB, file_format), OPTIONS)
    assert (got.mode, got.size) == ("RGB", (20, 12))
    difference = np.abs(np.asarray(got, int) - np.asarray(RGB, int))
    assert difference.mean() < (0.5 if file_format in ("PNG", "BMP", "TIFF", "PPM") else 25)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I", "I;16", "F", "YCbCr"])
def test_a_picture_of_any_mode_becomes_what_pillow_makes_rgb(mode: str) -> None:
    grey = RGB.convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey, np.uint16) * 3)
    else:
        image = (grey if mode in ("I", "F", "LA") else RGB).convert(mode)
    file_format = "PNG" if mode in ("L", "LA", "RGBA", "P", "1", "I;16") else "TIFF"
    content = models.encoded(image, file_format)
    with Image.open(io.BytesIO(content)) as again:
        wanted = np.asarray(again.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(decoded(content, OPTIONS)), wanted)


def test_a_palette_with_transparency_is_read_without_a_warning() -> None:
    palette = RGB.convert("P", palette=Image.Palette.ADAPTIVE)
    content = models.encoded(palette, "PNG", transparency=bytes(range(256)))
    np.testing.assert_array_equal(np.asarray(decoded(content, OPTIONS)), np.asarray(palette.convert("RGB")))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = models.encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decoded(content, OPTIONS).getpixel((0, 0)) == (255, 0, 0)


BAD = {
    "nothing": (b"", "is empty"),
    "text": (b"this is no picture at all", "not a picture in one of the formats"),
    "random bytes": (np.random.default_rng(0).bytes(3000), "not a picture"),
    "a cut-off PNG": (models.encoded(models.picture(64, 64))[:700], "damaged or cut off"),
    "a cut-off JPEG": (models.encoded(models.picture(64, 64), "JPEG")[:-300], "damaged or cut off"),
    "a header alone": (png_header(30, 30), "damaged or cut off"),
    "a bomb": (png_header(60_000, 60_000), "60000 x 60000 pixels|more pixels than the limit"),
    "a huge bomb": (png_header(2_000_000, 2_000_000), "pixels"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_file_is_an_error_of_the_field(name: str) -> None:
    content, complaint = BAD[name]
    with pytest.raises(InvalidFields, match=complaint) as caught:
        decoded(content, OPTIONS)
    assert caught.value.violations[0].field == "image"


def test_the_limit_of_bytes_holds() -> None:
    content = models.encoded(RGB)
    decoded(content, EngineOptions(max_image_bytes=len(content)))
    with pytest.raises(InvalidFields, match=f"{len(content)} bytes, at most {len(content) - 1}"):
        decoded(content, EngineOptions(max_image_bytes=len(content) - 1))


def test_the_limit_of_pixels_holds_before_decoding() -> None:
    content = models.encoded(RGB)
    decoded(content, EngineOptions(max_image_pixels=240))
    with pytest.raises(InvalidFields, match="20 x 12 pixels, at most 239"):
        decoded(content, EngineOptions(max_image_pixels=239))
    # Nothing but the header is there to be read.
    with pytest.raises(InvalidFields, match="30 x 30 pixels, at most 100"):
        decoded(png_header(30, 30), EngineOptions(max_image_pixels=100))


def test_a_format_off_the_list_is_refused() -> None:
    with pytest.raises(InvalidFields, match="formats PNG"):
        decoded(models.encoded(RGB, "BMP"), EngineOptions(image_formats=("PNG",)))


# Pillow warns about what it can do without, such as damaged EXIF data.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_is_a_picture_or_an_error_of_the_field(seed: int) -> None:
    rng = np.random.default_rng(seed)
    file_format = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")[seed % 6]
    content = bytearray(models.encoded(models.picture(40, 30), file_format))
    for place in rng.integers(0, len(content), 12):
        content[place] = rng.integers(0, 256)
    try:
        mode = decoded(bytes(content), OPTIONS).mode
    except InvalidFields as error:
        mode = error.violations[0].field
    assert mode in ("RGB", "image")
