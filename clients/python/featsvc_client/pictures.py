"""Whatever a caller calls a picture, as an encoded file or an address.

- `Path`: a file.
- `bytes`: an encoded file.
- A file object, such as `BytesIO`: the encoded file that it holds.
- PIL image, or uint8 array H x W, H x W x 1, H x W x 3 or H x W x 4: sent as PNG, so no pixel changes. As in files, of
  uint16 (I;16) the upper 8 bits count, and floats (F) go from 0, black, to 1, white.
- `str`, in this order: `sha256:` and 64 digits is the name that an answer gave to a picture,
  `data:` is a data URI, `http://` and `https://` an address that the server fetches,
  the name of an existing file that file, and all else base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc_client.errors import FieldViolation, InvalidRequest, invalid

ImageLike = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | Image.Image
    | NDArray[np.uint8]
    | NDArray[np.uint16]
    | NDArray[np.floating]
)
"""Everything that `picture` takes."""

LONGEST_PATH = 4096
# Names such as `photos/cat1` are base64 too, but no picture file is this short.
SHORTEST_FILE = 26
DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
# The other alphabet of base64, as in addresses; padding is put right.
STANDARD = str.maketrans({"-": "+", "_": "/", "=": None})
HALF_STEP = 0.5 / 255


@dataclass(frozen=True)
class Picture:
    """A picture to send: an encoded file, an address that the server fetches, or the name of one that it has."""

    content: bytes = b""
    url: str = ""
    name: str = ""

    @cached_property
    def digest(self) -> str:
        """The name that the server gives to the file."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def source(self) -> dict[str, object]:
        """The fields of the contract's Image."""
        if self.name:
            return {"digest": self.name}
        return {"url": self.url} if self.url else {"content": self.content}

    @property
    def body(self) -> dict[str, str]:
        """The fields of a REST body."""
        if self.name:
            return {"image_digest": self.name}
        return {"image_url": self.url} if self.url else {"image": base64.b64encode(self.content).decode()}


def picture(image: ImageLike) -> Picture:
    """The picture to send; raises InvalidRequest, or the OSError of a file that cannot be read."""
    if isinstance(image, str):
        return _named(image)
    if isinstance(image, os.PathLike):
        return Picture(Path(image).read_bytes())
    if isinstance(image, bytes | bytearray | memoryview):
        return Picture(bytes(image))
    if isinstance(image, Image.Image):
        return Picture(_png(image))
    if isinstance(image, np.ndarray):
        return Picture(_png(_from_array(image)))
    if isinstance(image, io.BytesIO):
        return Picture(image.getvalue())
    if hasattr(image, "read"):
        return Picture(bytes(image.read()))
    raise _bad(
        f"a {type(image).__name__} is no picture; give a path, bytes, PIL image, array, base64 or address"
    )


def encode_image(image: ImageLike) -> str:
    """The picture as base64 text; files keep their bytes."""
    sent = picture(image)
    if sent.url or sent.name:
        raise _bad(
            "an address is fetched by the server, a digest means a file that it has: give them as they are"
        )
    return base64.b64encode(sent.content).decode()


def _named(image: str) -> Picture:
    if DIGEST.fullmatch(image):
        return Picture(name=image)
    scheme = image[:8].lower()
    if scheme.startswith("data:"):
        return Picture(_from_data_uri(image))
    if scheme.startswith(("http://", "https://")):
        return Picture(url=image)
    if len(image) < LONGEST_PATH and os.path.isfile(image):
        return Picture(Path(image).read_bytes())
    content = _from_base64(image)
    if content is None or len(content) < SHORTEST_FILE:
        shown = image if len(image) <= 80 else f"{image[:77]}..."
        raise _bad(f"{shown!r} is no existing file, and neither base64, a data: URI nor an http(s) address")
    return Picture(content)


def _from_data_uri(uri: str) -> bytes:
    header, comma, payload = uri.partition(",")
    if not comma:
        raise _bad("the data: URI has no comma before its data")
    content = _from_base64(payload) if header.lower().endswith(";base64") else unquote_to_bytes(payload)
    if not content:
        raise _bad("the data: URI holds no valid base64")
    return content


def _from_base64(encoded: str) -> bytes | None:
    try:
        compact = "".join(encoded.split()).translate(STANDARD)
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _from_array(given: NDArray[np.generic]) -> Image.Image:
    array = _eight_bits(given)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise _bad(f"an array of shape {array.shape} is no picture; it must be H x W, H x W x 3 or H x W x 4")
    if array.size == 0:
        raise _bad("the array is empty")
    return Image.fromarray(np.ascontiguousarray(array))


def _eight_bits(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The numbers as the server takes those of files: the upper 8 of 16 bits, floats from 0 to 1."""
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return (array.astype(np.uint16) >> 8).astype(np.uint8)
    if array.dtype.kind != "f":
        raise _bad(f"an array of {array.dtype} is no picture; convert it to uint8, 0 to 255")
    floats = array.astype(np.float64)
    if array.size and not (floats.min() >= -HALF_STEP and floats.max() <= 1 + HALF_STEP):
        raise _bad(
            f"floating-point numbers from {floats.min():g} to {floats.max():g}; they are taken from 0 (black) to 1 "
            "(white): scale them so, or convert them to uint8"
        )
    whole: NDArray[np.uint8] = np.rint(floats.clip(0, 1) * 255).astype(np.uint8)
    return whole


def _png(image: Image.Image) -> bytes:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow's older versions open PNG files of 16 bits as I.
        image = _from_array(np.asarray(image).astype(np.uint16))
    elif image.mode == "I":
        raise _bad("an image of mode I has no number that means white; convert it to L or I;16")
    elif image.mode == "F":
        image = _from_array(np.asarray(image))
    buffer = io.BytesIO()
    # Level 1: on a fast network the time goes into compressing, not into sending.
    (image if image.mode in PNG_MODES else image.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _bad(message: str) -> InvalidRequest:
    return invalid(FieldViolation("image", message))
