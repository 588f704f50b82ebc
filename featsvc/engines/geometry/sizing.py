"""Resize, crop, normalise and pad, and the geometry that follows: docs/formulas.md has the rules."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from featsvc.engines.geometry.resizing import MOST_SENT, Resizing, can_resize
from featsvc.engines.running.colours import COLOURS, NO_BLANK, Normal, Seen, coloured
from featsvc.engines.running.transfer import pinned
from featsvc.engines.running.whole import whole_picture
from featsvc.errors import invalid_field
from featsvc.v1.schema import PaddingMode
from featsvc.work.options import EngineOptions
from featsvc.work.results import Geometry

WidthHeight = tuple[int, int]
CPU = torch.device("cpu")
REFLECTS = {PaddingMode.REFLECT: 1, PaddingMode.CIRCULAR: 0}
"""How much smaller than the picture the padding must be, for modes that copy it."""


@dataclass(frozen=True)
class Fit:
    """How a picture is brought to the network."""

    load_size: int
    center_crop: bool
    padding_mode: PaddingMode


@dataclass(frozen=True)
class Grid:
    """Patches of `patch` pixels every `stride` pixels."""

    patch: int
    stride: int

    @classmethod
    def of(cls, geometry: Geometry) -> Grid:
        """That which lies on a picture so."""
        return cls(geometry.patch_size, geometry.stride)

    @classmethod
    def of_patches(cls, patch: int) -> Grid:
        """Patches side by side."""
        return cls(patch, patch)


@dataclass(frozen=True)
class NetworkInput(Seen):
    """A padded picture, and how its grid lies on the original."""

    geometry: Geometry = field(kw_only=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width as the network sees them."""
        geometry = self.geometry
        height = geometry.resized_height + geometry.pad_bottom
        return COLOURS, height, geometry.resized_width + geometry.pad_right

    @property
    def pixel_count(self) -> int:
        """Pixels that the network sees."""
        _, height, width = self.shape
        return height * width


@dataclass(frozen=True)
class FitThere:
    """`fitted` and `padded` of a picture that is on a GPU, with the same bytes."""

    geometry: Geometry
    padding_mode: PaddingMode

    def __call__(self, pixels: Tensor) -> Tensor:
        """Bytes 3 x H x W of the picture as they are sent, as the network takes them."""
        geometry = self.geometry
        resizing = Resizing(
            geometry.uncropped_height or geometry.resized_height,
            geometry.uncropped_width or geometry.resized_width,
        )
        rows = slice(geometry.crop_top, geometry.crop_top + geometry.resized_height)
        columns = slice(geometry.crop_left, geometry.crop_left + geometry.resized_width)
        cropped = resizing(pixels)[:, rows, columns]
        return padded(cropped, geometry.pad_right, geometry.pad_bottom, self.padding_mode)


def network_input(
    picture: Image, fit: Fit, grid: Grid, normal: Normal, device: torch.device = CPU
) -> NetworkInput:
    """What a network on that device sees of an RGB picture."""
    geometry = geometry_of(picture.size, fit, grid)
    right, bottom = geometry.pad_right, geometry.pad_bottom
    _check_padding(geometry, fit.padding_mode)
    there = fit_there(picture, fit, geometry, device)
    ready = whole_picture(picture, device) if there else None
    if ready is None:
        there = None
        ready = padded(coloured(fitted(picture, fit), normal, device), right, bottom, fit.padding_mode)
    # Of normalised values it is 0 already, of bytes it will be.
    is_blank = fit.padding_mode is PaddingMode.CONSTANT
    return NetworkInput(
        pinned(ready, device),
        blank=(bottom, right) if is_blank else NO_BLANK,
        fit=there,
        geometry=geometry,
    )


def fit_there(picture: Image, fit: Fit, geometry: Geometry, device: torch.device) -> FitThere | None:
    """What a GPU does itself, sent the picture as it is; None where it is sent what has the size of its network.

    A CPU takes 16 ms to bring 1920 x 1080 pixels to 597 x 336, and 2 ms for their bytes.
    """
    width, height = _scaled(picture.size, fit.load_size)
    is_there = device.type == "cuda" and picture.size != (width, height)
    if not is_there or picture.width * picture.height > MOST_SENT:
        return None
    return FitThere(geometry, fit.padding_mode) if can_resize(picture.size, height, width) else None


def geometry_of(size: WidthHeight, fit: Fit, grid: Grid) -> Geometry:
    """How the grid will lie on a picture of this width and height, before any pixel is made."""
    original_width, original_height = size
    uncropped = width, height = _scaled(size, fit.load_size)
    if fit.center_crop:
        width = height = min(width, height)
    right, bottom = -width % grid.patch, -height % grid.patch
    return Geometry(
        patch_size=grid.patch,
        stride=grid.stride,
        resized_height=height,
        resized_width=width,
        pad_right=right,
        pad_bottom=bottom,
        original_height=original_height,
        original_width=original_width,
        grid_height=1 + (height + bottom - grid.patch) // grid.stride,
        grid_width=1 + (width + right - grid.patch) // grid.stride,
        uncropped_height=uncropped[1],
        uncropped_width=uncropped[0],
        crop_top=_cropped_off(uncropped[1] - height),
        crop_left=_cropped_off(uncropped[0] - width),
    )


def _cropped_off(difference: int) -> int:
    """Of pixels that a crop to the centre takes away, those before it, as torchvision's center_crop rounds them."""
    return round(difference / 2.0)


def checked_geometry(picture: Image, fit: Fit, grid: Grid, options: EngineOptions) -> Geometry:
    """The geometry of a picture that is not too large for its pixels to be made, nor its grid for the device."""
    check_size(picture, fit, options)
    geometry = geometry_of(picture.size, fit, grid)
    is_finer = geometry.stride < geometry.patch_size
    check_cells(geometry.grid_height * geometry.grid_width, options, is_finer)
    return geometry


def check_cells(cells: int, options: EngineOptions, is_finer: bool = False) -> None:
    """Refuses a grid that would keep the device busy for very long; `is_finer` by its stride than the patches are."""
    if cells > options.max_cells:
        remedy = "take a larger stride, or a smaller load_size" if is_finer else "take a smaller one"
        message = f"makes {cells} cells, at most {options.max_cells}: {remedy}"
        raise invalid_field("params.stride" if is_finer else "params.load_size", message)


def check_size(picture: Image, fit: Fit, options: EngineOptions) -> None:
    """Refuses a load_size that makes more pixels than a picture may have."""
    width, height = _scaled(picture.size, fit.load_size)
    if width * height > options.max_image_pixels:
        message = (
            f"makes {width} x {height} pixels of this picture, at most {options.max_image_pixels} in all"
        )
        raise invalid_field("params.load_size", message)


def fitted(picture: Image, fit: Fit) -> Image:
    """Resized, and cropped if asked for."""
    width, height = _scaled(picture.size, fit.load_size)
    if (width, height) != picture.size:
        picture = TF.resize(picture, [height, width], InterpolationMode.BICUBIC, antialias=True)
    if fit.center_crop:
        side = min(width, height)
        picture = TF.center_crop(picture, [side, side])
    return picture


def _scaled(size: WidthHeight, load_size: int) -> WidthHeight:
    """Width and height for a load_size, as torchvision's Resize computes them from the shorter side."""
    width, height = size
    if load_size == 0:
        raise invalid_field(
            "params.load_size", "0 is no size: give pixels of the shorter side, or a negative factor"
        )
    short, long = min(size), max(size)
    new_short = load_size if load_size > 0 else short * -load_size
    new_long = int(new_short * long / short)
    return (new_short, new_long) if width <= height else (new_long, new_short)


def padded(pixels: Tensor, right: int, bottom: int, mode: PaddingMode) -> Tensor:
    """Padding at right and bottom, 3 x H x W to 3 x (H + bottom) x (W + right)."""
    if not right and not bottom:
        return pixels
    # What repeats pixels has no kernel for bytes on a GPU.
    is_made = mode is PaddingMode.CONSTANT or pixels.device.type == "cpu"
    some = pixels if is_made else pixels.to(torch.float32)
    return F.pad(some[None], (0, right, 0, bottom), mode=mode.value)[0].to(pixels.dtype)


def _check_padding(geometry: Geometry, mode: PaddingMode) -> None:
    """Refuses a mode that cannot fill the last patches of so small a picture."""
    right, bottom, margin = geometry.pad_right, geometry.pad_bottom, REFLECTS.get(mode)
    width, height = geometry.resized_width, geometry.resized_height
    if margin is not None and (right or bottom) and (right > width - margin or bottom > height - margin):
        message = (
            f"{mode.value} cannot pad {width} x {height} pixels by {right} at the right and {bottom} at the "
            "bottom: use constant or replicate, or a larger load_size"
        )
        raise invalid_field("params.padding_mode", message)
