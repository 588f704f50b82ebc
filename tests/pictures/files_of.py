"""Writers of image files bit by bit, for what no library writes: depths, byte orders, interlacing, odd fields."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
PALETTE = 3
SHORT, LONG = 3, 4


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A chunk of a PNG file, with the right checksum unless another is given."""
    right = zlib.crc32(kind + body)
    return (
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", right if checksum is None else checksum)
    )


def png(
    values: Array,
    bits: int = 8,
    palette: bytes = b"",
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG file of H x W or H x W x channels; `before` and `after` stand on either side of its pixels."""
    if values.ndim == 2:
        values = values[:, :, None]
    height, width, channels = values.shape
    colour = PALETTE if palette else COLOURS[channels]
    passes = [values[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [values]
    rows = b"".join(b"\0" + _row(row, bits) for part in passes if part.size for row in part)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))),
            chunk(b"PLTE", palette) if palette else b"",
            before,
            chunk(b"IDAT", zlib.compress(rows)),
            after,
            chunk(b"IEND", b""),
        )
    )


def _row(row: Array, bits: int) -> bytes:
    if bits == 16:
        return row.astype(">u2").tobytes()
    if bits == 8:
        return row.astype(np.uint8).tobytes()
    each = row.reshape(-1).astype(np.uint8)
    shifts = np.arange(bits - 1, -1, -1)
    return np.packbits((each[:, None] >> shifts) & 1).tobytes()


def exif(orientation: int, order: str = "<") -> bytes:
    """EXIF data that say how a picture is to be shown, and no more."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entry = struct.pack(order + "HHIHH", 274, SHORT, 1, orientation, 0)
    return head + struct.pack(order + "H", 1) + entry + bytes(4)


def tiff(
    data: bytes,
    size: tuple[int, int],
    fields: Mapping[int, int | Sequence[int]],
    order: str = "<",
    big: bool = False,
) -> bytes:
    """A TIFF file of one strip; `fields` are its further tags, or others for those that are here."""
    width, height = size
    begin = 16 if big else 8
    every: dict[int, int | Sequence[int]] = {
        256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: begin, 277: 1, 278: height, 279: len(data),
    } | dict(fields)  # fmt: skip
    room = 8 if big else 4
    where = begin + len(data) + (len(data) & 1)
    entries, beyond = b"", b""
    head_bytes = (8 if big else 2) + len(every) * (20 if big else 12) + room
    for tag, value in sorted(every.items()):
        numbers = [value] if isinstance(value, int) else list(value)
        kind = LONG if tag in (256, 257, 273, 278, 279) else SHORT
        packed = struct.pack(order + ("I" if kind == LONG else "H") * len(numbers), *numbers)
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, len(numbers))
        if len(packed) > room:
            entries += struct.pack(order + ("Q" if big else "I"), where + head_bytes + len(beyond))
            beyond += packed
        else:
            entries += packed.ljust(room, b"\0")
    head = (b"II" if order == "<" else b"MM") + (
        struct.pack(order + "HHHQ", 43, 8, 0, where) if big else struct.pack(order + "HI", 42, where)
    )
    count = struct.pack(order + ("Q" if big else "H"), len(every))
    return head + data + b"\0" * (len(data) & 1) + count + entries + bytes(room) + beyond


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG file with more segments behind its first two bytes."""
    made = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return jpeg[:2] + made + jpeg[2:]


def with_scans(jpeg: bytes, scans: int) -> bytes:
    """A progressive JPEG of so many scans more: its smallest one again, which still goes over all of it."""
    parts = []
    for found in re.finditer(rb"\xff\xda", jpeg):
        begin = jpeg.rindex(b"\xff\xc4", 0, found.start())  # its table of codes
        end = re.compile(rb"\xff[^\x00\xd0-\xd7]").search(jpeg, found.end())
        parts.append((begin, end.start() if end else len(jpeg)))
    begin, end = min(parts, key=lambda part: part[1] - part[0])
    return jpeg[:end] + jpeg[begin:end] * scans + jpeg[end:]


def run_lengths(width: int, height: int) -> bytes:
    """A BMP in runs of one pixel, which Pillow decodes in Python."""
    rows = (b"\1\7" * width + b"\0\0") * height + b"\0\1"
    begin = 14 + 40 + 1024
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", begin + len(rows), 0, 0, begin) + head + bytes(1024) + rows
