"""What a file's header says, read without a decoder: its size, how it is to be shown, and what of it makes the pixels.

A decoder is given no more than that. Profiles, texts and thumbnails, their checksums and their limits, are nothing
to us; and nobody can hold up a decoder with a million of them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from featsvc.engines.decoding.directory import EXIF_PREFIX, UPRIGHT, Field, Tag, directory, orientation

MOST_PARTS = 16384  # segments or chunks; a picture of 100 MB in pieces of 8 KiB has fewer
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NETPBM = re.compile(rb"P[1-7fF]\s")
BMP_SIZE_FROM, BMP_PLAIN = (
    40,
    (0, 3),
)  # bytes of a header that says how it is compressed; not at all, or bit fields
INTEGERS, SIGNED, FLOATS = 1, 2, 3  # sample formats of TIFF
WHITE_IS_ZERO = 0
DEPTHS = (12, 16)

SOI, SOS, EOI = 0xD8, 0xDA, 0xD9
ALONE = (0x01, *range(0xD0, 0xD8))  # JPEG markers without a body
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
SEQUENTIAL = frozenset((0xC0, 0xC1))
# Beside the comments, all application data but JFIF's and Adobe's, which say what the colours mean.
UNNEEDED = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))


@dataclass(frozen=True)
class Header:
    """What is known of a file before it is decoded."""

    kind: str
    """Its format as Pillow calls it; empty where its first bytes are those of none that is looked into here."""
    content: bytes
    """What makes the pixels."""
    orientation: int = UPRIGHT
    size: tuple[int, int] | None = None
    """Width and height, where the header is as simple as it should be."""
    scans: int = 1
    """Times that a decoder goes over all pixels, at most."""
    is_plain: bool = False
    """Whether decoding it takes a time that follows from its size and scans."""
    is_inverted: bool = False
    """Whether 0 is white, and the decoder does not know it."""
    bits: int = 8
    is_signed: bool = False


def header(content: bytes) -> Header:
    """What the first bytes and what follows them say. Never fails: what is odd is for the decoder to judge."""
    if content.startswith(b"\xff\xd8\xff"):
        kind, read = "JPEG", _jpeg
    elif content.startswith(PNG_SIGNATURE):
        kind, read = "PNG", _png
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind, read = "WEBP", _webp
    elif content.startswith(TIFF_SIGNATURES):
        kind, read = "TIFF", _tiff
    elif content.startswith(b"BM"):
        kind, read = "BMP", _bmp
    else:
        kind = "PPM" if NETPBM.match(content) else "GIF" if content.startswith(b"GIF8") else ""
        return Header(kind, content)
    try:
        return read(Header(kind, content))
    except (struct.error, IndexError):
        return Header(kind, content)


def _jpeg(head: Header) -> Header:
    content, pieces, exif = head.content, [b"\xff\xd8"], b""
    frame, start = b"", len(content)
    marker = 0
    for marker, start, end in _segments(content):
        if marker == SOS:
            break
        if marker == 0xE1 and not exif and content.startswith(EXIF_PREFIX, start + 4):
            exif = content[start + 4 : end]
        if marker in FRAMES and not frame:
            frame, kind = content[start + 4 : end], marker
        if marker not in UNNEEDED:
            pieces.append(content[start:end])
    if marker != SOS or not frame:
        return head
    height, width, components = struct.unpack_from(">HHB", frame, 1)
    rest = content[start:]
    # Data of pixels never hold these two bytes; a thumbnail may, and then this is more than there are.
    scans = rest.count(b"\xff\xda")
    return replace(
        head,
        content=b"".join((*pieces, rest)),
        orientation=orientation(exif),
        size=(width, height),
        scans=scans if kind in PROGRESSIVE else max(1, scans // max(1, components)),
        is_plain=kind in PROGRESSIVE | SEQUENTIAL,
    )


class _Segment(NamedTuple):
    """A piece of a JPEG file, by its marker."""

    marker: int
    begin: int
    end: int


def _segments(content: bytes) -> Iterator[_Segment]:
    """All up to the first scan; ends early where they are not as they should be."""
    place = 2
    for _ in range(MOST_PARTS):
        if content[place] != 0xFF:
            return
        while content[place + 1] == 0xFF:  # fill bytes
            place += 1
        marker = content[place + 1]
        if marker in ALONE:
            place += 2
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4])
        if marker in (0, SOI, EOI) or end < place + 4 or end > len(content):
            return
        yield _Segment(marker, place, end)
        place = end


def _png(head: Header) -> Header:
    content, pieces, exif = head.content, [PNG_SIGNATURE], b""
    begin, place, is_whole = 8, 8, False
    for _ in range(MOST_PARTS):
        if place + 12 > len(content):
            is_whole = True
            break
        kind = content[place + 4 : place + 8]
        end = place + 12 + int.from_bytes(content[place : place + 4])
        # The fifth bit of the first letter: whether pictures can do without it. Transparency tells a palette's mode.
        if kind[0] & 0x20 and kind != b"tRNS":
            pieces.append(content[begin:place])
            begin = end
            if kind == b"eXIf" and not exif:
                exif = content[place + 8 : end - 4]
        place = end
        if kind == b"IEND":
            is_whole = True
            break
    if not is_whole or content[12:16] != b"IHDR":
        return head
    return replace(
        head,
        content=b"".join((*pieces, content[begin:place])) if len(pieces) > 1 else content,
        orientation=orientation(exif),
        size=(int.from_bytes(content[16:20]), int.from_bytes(content[20:24])),
        is_plain=True,
    )


def _webp(head: Header) -> Header:
    content, exif, place = head.content, b"", 12
    for _ in range(MOST_PARTS):
        if place + 8 > len(content):
            break
        (length,) = struct.unpack_from("<I", content, place + 4)
        if content[place : place + 4] == b"EXIF" and not exif:
            exif = content[place + 8 : place + 8 + length]
        place += 8 + length + (length & 1)
    first, body = content[12:16], content[20:30]
    size = None
    if first == b"VP8X":
        size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
    elif first == b"VP8L" and body[0] == 0x2F:
        both = int.from_bytes(body[1:5], "little")
        size = (1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF))
    elif first == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        size = (int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF)
    is_animated = first == b"VP8X" and bool(body[0] & 0x02)
    return replace(
        head, orientation=orientation(exif), size=size, is_plain=size is not None and not is_animated
    )


def _bmp(head: Header) -> Header:
    length, width, height = struct.unpack_from("<Iii", head.content, 14)
    if length < BMP_SIZE_FROM:
        return head
    (compression,) = struct.unpack_from("<I", head.content, 30)
    return replace(head, size=(width, abs(height)), is_plain=compression in BMP_PLAIN)


def _tiff(head: Header) -> Header:
    """Pillow would turn the picture by itself, and does not know that 0 is white in 16 bits: it is told otherwise."""
    fields = directory(head.content)

    def value(tag: int, default: int) -> int:
        return fields[tag].value if tag in fields else default

    bits, form = value(Tag.BITS, 1), value(Tag.SAMPLE_FORMAT, INTEGERS)
    is_inverted = value(Tag.PHOTOMETRIC, 1) == WHITE_IS_ZERO and (bits in DEPTHS or form == FLOATS)
    content = _with_field(head.content, fields.get(Tag.ORIENTATION), UPRIGHT)
    if is_inverted:
        content = _with_field(content, fields[Tag.PHOTOMETRIC], 1)
    return replace(
        head,
        content=content,
        orientation=orientation(head.content),
        bits=bits,
        is_signed=form == SIGNED,
        is_inverted=is_inverted,
    )


def _with_field(content: bytes, field: Field | None, value: int) -> bytes:
    """The file with another number in a field."""
    if field is None or field.value == value:
        return content
    number = struct.pack(field.form, value)
    return content[: field.place] + number + content[field.place + len(number) :]
