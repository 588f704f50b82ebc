"""Masks and features as pictures to look at; all are PIL images, so `.save("name.png")` keeps them."""

from __future__ import annotations

import colorsys
import math
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from featsvc.v1 import image_pb2, schema
from featsvc_client import grid
from featsvc_client.mask_results import Mask
from featsvc_client.masks import instance_map
from featsvc_client.object_results import FoundObjects

# The golden ratio's fractional part: successive hues stay far apart, however many there are.
HUE_STEP = 0.6180339887498949
# A grid is enlarged to at least this many pixels where nobody says how large.
SHOWN = 448
LONGEST_TEXT = 200
"""Letters of a text that are drawn."""
SMOOTH = Image.Resampling.BILINEAR

Openable = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""A picture as a file, PIL image or uint8 array."""


def overlay(
    image: Openable,
    masks: Sequence[Mask],
    opacity: float = 0.5,
    outline: bool = True,
    *,
    orientation: str = schema.Orientation.STORED,
) -> Image.Image:
    """The picture with each mask in a colour of its own, the best on top, and a white line around each.

    `orientation` is that of the question: masks that were asked for as `shown` lie on the picture as it is shown.
    """
    picture = _opened(image, orientation)
    return _tinted(picture, instance_map(masks), opacity, outline) if masks else picture


def colours_of_texts(
    image: Openable,
    found: FoundObjects,
    texts: str | Sequence[str] = (),
    opacity: float = 0.6,
    *,
    orientation: str = schema.Orientation.STORED,
) -> Image.Image:
    """The picture in greys, each object in the colour of the text (or vector) it fits best, with the texts below.

    The result is as wide as the longest text needs, which ends in … if it has more than 200 letters. `orientation` is
    that of the question, as for `overlay`.
    """
    picture = _opened(image, orientation).convert("L").convert("RGB")
    labels = np.zeros((found.height, found.width), np.uint16)
    matches = [(each, number) for number, own in enumerate(found.found, 1) for each in own]
    for match, number in sorted(matches, key=lambda each: each[0].score):
        labels[found[match.object].segmentation] = number
    return _with_legend(
        _tinted(picture, labels, opacity, outline=True), (texts,) if isinstance(texts, str) else texts
    )


def _tinted(
    picture: Image.Image, labels: NDArray[np.uint16] | NDArray[np.int32], opacity: float, outline: bool
) -> Image.Image:
    height, width = labels.shape
    if picture.size != (width, height):
        raise ValueError(
            f"masks of {width} x {height} on a picture of {picture.width} x {picture.height}: "
            "give the picture that was asked about, and the orientation of the question"
        )
    pixels = np.asarray(picture, np.float32)
    tinted = pixels * (1 - opacity) + palette(int(labels.max(initial=0)))[labels] * opacity
    pixels = np.where((labels > 0)[..., None], tinted, pixels)
    if outline:
        pixels[_borders(labels)] = 255
    return Image.fromarray(pixels.round().astype(np.uint8))


def _with_legend(picture: Image.Image, texts: Sequence[str]) -> Image.Image:
    """The picture above a line for each text, with a square of its colour before it."""
    size = max(12, picture.height // 24)
    line, font = round(size * 1.5), ImageFont.load_default(size=size)
    lines = [_line(each) for each in texts]
    longest = max((math.ceil(font.getlength(each)) for each in lines), default=0)
    width = max(picture.width, size * 2 + longest + size // 2) if lines else picture.width
    sheet = Image.new("RGB", (width, picture.height + line * len(lines)), "white")
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for number, (words, colour) in enumerate(zip(lines, palette(len(lines))[1:], strict=True)):
        top = picture.height + line * number + line // 4
        draw.rectangle((size // 2, top, size // 2 + size, top + size), fill=tuple(colour.tolist()))
        draw.multiline_text((size * 2, top), words, "black", font)
    return sheet


def _line(sentence: str) -> str:
    words = " ".join(sentence.split())
    return words if len(words) <= LONGEST_TEXT else words[:LONGEST_TEXT] + "…"


def label_picture(masks: Sequence[Mask]) -> Image.Image:
    """The instance map in the colours of `overlay`, black where there is no mask."""
    return Image.fromarray(palette(len(masks))[instance_map(masks)])


def mask_picture(mask: Mask | NDArray[np.generic]) -> Image.Image:
    """One mask (or H x W array, above 0 inside), white on black."""
    pixels = mask.segmentation if isinstance(mask, Mask) else np.asarray(mask) > 0
    return Image.fromarray(pixels.astype(np.uint8) * 255)


def pca_picture(
    components: NDArray[np.float32],
    size: tuple[int, int] | None = None,
    *,
    geometry: image_pb2.Geometry | None = None,
) -> Image.Image:
    """Three principal components, H x W x 3 or 3 x H x W, as red, green, blue, enlarged smoothly.

    With the `geometry` of the answer each lies where it was in the picture, at the picture's size; `size` is (width,
    height); without either it is as large as one likes to look at.
    """
    if components.ndim == 3 and components.shape[2] != 3 and components.shape[0] == 3:
        components = np.moveaxis(components, 0, 2)
    if components.ndim != 3 or components.shape[2] != 3:
        raise ValueError(f"shape {components.shape} has no three components; ask for features with PCA")
    return _enlarged(components, size, geometry)


def heat_picture(
    similarity: NDArray[np.float32],
    size: tuple[int, int] | None = None,
    *,
    geometry: image_pb2.Geometry | None = None,
    span: tuple[float, float] | None = None,
) -> Image.Image:
    """A similarity map, H x W, enlarged as by `pca_picture`, from its least (black) to its most, or over a `span`."""
    if similarity.ndim != 2:
        raise ValueError(f"shape {similarity.shape} is no single map; take one of them")
    low, high = (float(similarity.min()), float(similarity.max())) if span is None else span
    return _enlarged((similarity - low) / ((high - low) or 1.0), size, geometry)


def palette(count: int) -> NDArray[np.uint8]:
    """Colours of labels 0 (black) to `count`, (count + 1) x 3; the same for every call."""
    colours = [
        (0.0, 0.0, 0.0),
        *(colorsys.hsv_to_rgb(index * HUE_STEP % 1, 0.75, 1.0) for index in range(count)),
    ]
    return (np.array(colours) * 255).round().astype(np.uint8)


def _opened(image: Openable, orientation: str) -> Image.Image:
    if isinstance(image, str | os.PathLike):
        with Image.open(image) as opened:
            return _opened(opened, orientation)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if schema.Orientation(orientation) is schema.Orientation.SHOWN:
        picture = ImageOps.exif_transpose(picture)
    return picture.convert("RGB")


def _borders(labels: NDArray[np.uint16] | NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of masks whose right or lower neighbour has another label, H x W."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1, :] |= labels[:-1, :] != labels[1:, :]
    return edges


def _enlarged(
    values: NDArray[np.floating], size: tuple[int, int] | None, geometry: image_pb2.Geometry | None
) -> Image.Image:
    """Values in [0, 1] as a picture, linear between the centres of their cells."""
    cells = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
    if geometry is not None and geometry.original_width:
        return _over_picture(cells, geometry)
    height, width = cells.shape[:2]
    factor = -(-SHOWN // max(height, width))
    return Image.fromarray(cells).resize(size or (width * factor, height * factor), SMOOTH)


def _over_picture(cells: NDArray[np.uint8], geometry: image_pb2.Geometry) -> Image.Image:
    """Each cell where it lies in the picture; what the network did not see has the colour of the nearest."""
    size = (geometry.original_width, geometry.original_height)
    whole = (geometry.grid_height, geometry.grid_width)
    if cells.shape[0] > whole[0] or cells.shape[1] > whole[1]:
        # Cells that are pixels of the resized picture have no geometry of their own.
        return Image.fromarray(cells).resize(size, SMOOTH)
    corners = np.array([[-0.5, -0.5], [size[0] - 0.5, size[1] - 0.5]])
    # From rows and columns, counted at centres, to x and y at edges, as Pillow takes them.
    (left, top), (right, bottom) = grid.cells(geometry, corners)[:, ::-1] + 0.5
    height, width = cells.shape[:2]
    before = (max(0, -int(np.floor(top))), max(0, -int(np.floor(left))))
    after = (max(0, int(np.ceil(bottom)) - height), max(0, int(np.ceil(right)) - width))
    margins = [*zip(before, after, strict=True), *[(0, 0)] * (cells.ndim - 2)]
    part = (left + before[1], top + before[0], right + before[1], bottom + before[0])
    return Image.fromarray(np.pad(cells, margins, mode="edge")).resize(size, SMOOTH, part)
