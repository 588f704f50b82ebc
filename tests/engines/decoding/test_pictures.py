"""Files become pictures, or an error that says what is wrong with them; nothing is decoded before the limits."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from featsvc.engines.decoding.pictures import decoded
from featsvc.errors import InvalidFields
from featsvc.v1.schema import Orientation
from featsvc.work.item import PictureItem
from featsvc.work.options import EngineOptions
from tests.engines import models
from tests.pictures import OddPicture, corpus

CORPUS = corpus()
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


def pixels(content: bytes, options: EngineOptions = OPTIONS, shown: bool = False) -> np.ndarray:
    orientation = Orientation.SHOWN if shown else Orientation.STORED
    picture = decoded(PictureItem(content, orientation=orientation), options).pixels
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize("odd", [each for each in CORPUS if not each.refused], ids=lambda odd: odd.name)
def test_an_odd_file_has_the_right_colours_and_tells_its_orientation(odd: OddPicture) -> None:
    got = decoded(PictureItem(odd.content), OPTIONS)
    assert (got.pixels.mode, got.orientation) == ("RGB", odd.orientation)
    found = np.asarray(got.pixels)
    assert found.shape == odd.right.shape
    assert np.abs(found.astype(int) - odd.right).max() <= odd.tolerance


# Pillow warns about what it can do without, such as damaged EXIF data.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("odd", [each for each in CORPUS if each.refused], ids=lambda odd: odd.name)
def test_a_file_that_is_no_picture_is_refused_in_words(odd: OddPicture) -> None:
    with pytest.raises(InvalidFields, match=odd.refused) as caught:
        decoded(PictureItem(odd.content), OPTIONS)
    assert caught.value.violations[0].field == "image"


@pytest.mark.parametrize(
    "odd",
    [each for each in CORPUS if "grey-16" in each.name and "orientation" not in each.name],
    ids=lambda odd: odd.name,
)
def test_sixteen_bits_become_what_opencv_makes_of_them(odd: OddPicture) -> None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    wanted = cv2.imdecode(np.frombuffer(odd.content, np.uint8), flags)
    np.testing.assert_array_equal(pixels(odd.content), wanted[:, :, ::-1])


@pytest.mark.parametrize(
    "odd", [each for each in CORPUS if each.name.startswith("orientation-")], ids=lambda odd: odd.name
)
def test_shown_is_the_stored_picture_as_a_browser_turns_it(odd: OddPicture) -> None:
    stored = pixels(odd.content)
    columns, rows = stored.swapaxes(0, 1), stored
    # Where the first row and the first column of the file belong, by the EXIF standard.
    wanted = {
        1: rows, 2: rows[:, ::-1], 3: rows[::-1, ::-1], 4: rows[::-1],
        5: columns, 6: columns[:, ::-1], 7: columns[::-1, ::-1], 8: columns[::-1],
    }[odd.orientation]  # fmt: skip
    np.testing.assert_array_equal(pixels(odd.content, shown=True), wanted)


def test_a_picture_is_turned_as_pillow_turns_it() -> None:
    odd = next(each for each in CORPUS if each.name == "orientation-6.jpg")
    with Image.open(io.BytesIO(odd.content)) as picture:
        wanted = ImageOps.exif_transpose(picture)
    np.testing.assert_array_equal(pixels(odd.content, shown=True), np.asarray(wanted))


def test_a_palette_with_transparency_is_read_without_a_warning() -> None:
    palette = RGB.convert("P", palette=Image.Palette.ADAPTIVE)
    content = models.encoded(palette, "PNG", transparency=bytes(range(256)))
    np.testing.assert_array_equal(pixels(content), np.asarray(palette.convert("RGB")))


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
        decoded(PictureItem(content), OPTIONS)
    assert caught.value.violations[0].field == "image"


def test_the_limit_of_bytes_holds() -> None:
    content = models.encoded(RGB)
    decoded(PictureItem(content), EngineOptions(max_image_bytes=len(content)))
    with pytest.raises(InvalidFields, match=f"{len(content)} bytes, at most {len(content) - 1}"):
        decoded(PictureItem(content), EngineOptions(max_image_bytes=len(content) - 1))


def test_the_limit_of_pixels_holds_before_decoding() -> None:
    content = models.encoded(RGB)
    decoded(PictureItem(content), EngineOptions(max_image_pixels=240))
    with pytest.raises(InvalidFields, match="20 x 12 pixels, at most 239"):
        decoded(PictureItem(content), EngineOptions(max_image_pixels=239))
    # Nothing but the header is there to be read.
    with pytest.raises(InvalidFields, match="30 x 30 pixels, at most 100"):
        decoded(PictureItem(png_header(30, 30)), EngineOptions(max_image_pixels=100))


def test_a_format_off_the_list_is_refused() -> None:
    with pytest.raises(InvalidFields, match="formats PNG"):
        decoded(PictureItem(models.encoded(RGB, "BMP")), EngineOptions(image_formats=("PNG",)))


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
        mode = decoded(PictureItem(bytes(content)), OPTIONS).pixels.mode
    except InvalidFields as error:
        mode = error.violations[0].field
    assert mode in ("RGB", "image")
