"""The picture of an item, decoded here where that is quick, else in a process that can be ended."""

from __future__ import annotations

import math
from collections.abc import Iterable

from featsvc.engines.decoding import reading
from featsvc.engines.decoding.headers import Header
from featsvc.engines.decoding.netpbm import netpbm
from featsvc.engines.decoding.reading import FIELD, Decoded, PictureLimits, checked
from featsvc.errors import ContentWanted, InvalidFields, invalid_field
from featsvc.v1.schema import Orientation
from featsvc.work.item import PictureItem
from featsvc.work.options import EngineOptions

# Seconds for a pixel, measured with noise, which is the worst that cameras make.
PIXEL_S = {"JPEG": 10e-9, "PNG": 30e-9, "WEBP": 40e-9, "BMP": 6e-9, "PPM": 12e-9}
# Of a progressive JPEG, for each time that all pixels are gone over, however little is there about them.
SCAN_S = 0.8e-9
QUICK_DECODE_S = 0.5
"""What may be decoded beside everything else."""


def decoded(item: PictureItem, options: EngineOptions) -> Decoded:
    """The picture as RGB; the error says what is wrong with its file. Raises ContentWanted if that was not sent."""
    if item.digest and not item.image:
        raise ContentWanted("the picture itself is wanted: its name alone was sent")
    head = _checked(item, options)
    upright = item.orientation is Orientation.SHOWN
    if options.card is not None and (there := options.card.pixels(head)) is not None:
        return reading.turned(there, head, upright)
    if options.reader is None or _is_quick(head):
        return reading.decoded(head, limits_of(options), upright)
    picture: Decoded = options.reader.read(item.image, upright)
    return picture


def may_take_long(pictures: Iterable[PictureItem], options: EngineOptions) -> bool:
    """Whether decoding these pictures, one after the other, may hold up what is quick."""
    seconds = 0.0
    for picture in pictures:
        if picture.image:
            try:
                head_s = decoding_s(_checked(picture, options))
            except InvalidFields:
                continue  # that is said soon enough
            seconds += math.inf if head_s is None else head_s
    return seconds > QUICK_DECODE_S


def limits_of(options: EngineOptions) -> PictureLimits:
    """What is read at all."""
    return PictureLimits(options.image_formats, options.max_image_pixels)


def _is_quick(head: Header) -> bool:
    seconds = decoding_s(head)
    return seconds is not None and seconds <= QUICK_DECODE_S


def _checked(item: PictureItem, options: EngineOptions) -> Header:
    """The header of a file that is worth decoding."""
    content = item.image
    if not content:
        raise invalid_field(FIELD, "is empty")
    if len(content) > options.max_image_bytes:
        raise invalid_field(FIELD, f"{len(content)} bytes, at most {options.max_image_bytes}")
    head = checked(content, limits_of(options))
    seconds = decoding_s(head)
    if seconds is not None and seconds > options.decode_timeout:
        width, height = head.size or (0, 0)
        scans = f" in {head.scans} scans" if head.scans > 1 else ""
        raise invalid_field(
            FIELD,
            f"the {head.kind} file of {width} x {height} pixels{scans} takes about {seconds:.0f} s to decode, at most "
            f"{options.decode_timeout:g} (--decode-timeout): save it anew, for instance as a baseline JPEG",
        )
    return head


def decoding_s(head: Header) -> float | None:
    """How long it will take on a processor of today, about; None where the header does not tell."""
    size = head.size
    if head.kind == "PPM":
        file = netpbm(head.content)
        size = file.size if file and not file.is_text else None
    elif not head.is_plain:
        size = None
    if size is None:
        return None
    return size[0] * size[1] * (PIXEL_S[head.kind] + (head.scans - 1) * SCAN_S)
