"""Prompts to the tensors that SAM2's prompt encoder takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from featsvc.engines.running.transfer import on_device
from featsvc.engines.sam2.embedding import to_network
from featsvc.errors import FieldViolation, InvalidFields, as_sent, invalid_field
from featsvc.fields.base import MOST_TOLD
from featsvc.v1.schema import Box, DType, Prompt
from featsvc.v1.schema import Tensor as WireTensor

BOX_LABELS = (2, 3)
"""Labels that the prompt encoder has for a box's two corners."""
LOGIT_TYPES: Mapping[DType, str] = {DType.FLOAT32: "<f4", DType.FLOAT16: "<f2"}
EMPTY = (None, None)
"""The shapes of a prompt without points and masks."""
MOST_LOGIT = 10_000
"""Far beyond the 32 that answers go to; squares of much larger ones overflow in the network, which then answers NaN."""
BEYOND = 0.5
"""Parts of a picture's width or height by which a box may reach beyond its edges, as those of detectors do."""


@dataclass(frozen=True)
class Prompts:
    """B prompts in the frame of the encoder's square."""

    coords: Tensor | None
    """B x n x 2."""
    labels: Tensor | None
    """B x n."""
    masks: Tensor | None
    """Logits of an earlier answer, B x 1 x h x w."""

    @property
    def count(self) -> int:
        """B, which is 1 where nothing is given."""
        return next((len(each) for each in (self.coords, self.masks) if each is not None), 1)

    def to(self, device: torch.device) -> Prompts:
        """The same on a device."""
        return Prompts(
            *(
                each if each is None else on_device(each, device)
                for each in (self.coords, self.labels, self.masks)
            )
        )


class SharedPass(NamedTuple):
    """Prompts of one pass, and where they stand in the request."""

    indices: list[int]
    prompts: Prompts


def together(prompts: Sequence[Prompts], pictures: Sequence[int], at_once: int) -> Iterator[SharedPass]:
    """The passes of the decoder that prompts share, each of which is about one of these pictures.

    Only those of the same number of points share one: padding would change an answer. Empty ones about a picture all
    have the same answer, so they are one prompt.
    """
    by_shapes: dict[tuple[object, ...], list[int]] = {}
    for index, (each, picture) in enumerate(zip(prompts, pictures, strict=True)):
        own: tuple[object, ...] = tuple(
            part if part is None else part.shape for part in (each.coords, each.masks)
        )
        by_shapes.setdefault((picture,) if own == EMPTY else own, []).append(index)
    for shapes, indices in by_shapes.items():
        count = at_once if len(shapes) == len(EMPTY) else len(indices)
        for start in range(0, len(indices), count):
            some = indices[start : start + count]
            yield SharedPass(some, _joined([prompts[index] for index in some]))


def _joined(prompts: list[Prompts]) -> Prompts:
    def joined(parts: list[Tensor | None]) -> Tensor | None:
        tensors = [part for part in parts if part is not None]
        return torch.cat(tensors) if tensors else None

    columns = zip(*((each.coords, each.labels, each.masks) for each in prompts), strict=True)
    return Prompts(*(joined(list(column)) for column in columns))


@dataclass(frozen=True)
class Frame:
    """What coordinates of a prompt mean: pixels of a picture of this size, or parts of it."""

    height: int
    width: int
    in_pixels: bool
    image_size: int
    mask_size: int

    @property
    def extent(self) -> tuple[int, int]:
        """The largest x and y in the picture."""
        return (self.width, self.height) if self.in_pixels else (1, 1)

    def __str__(self) -> str:
        pixels = f"the picture of {self.width} x {self.height} pixels"
        return (
            pixels if self.in_pixels else f"{pixels}, of which normalize_coords false takes parts from 0 to 1"
        )


def check_places(prompts: Sequence[Prompt], frame: Frame) -> None:
    """Refuses points outside the picture and boxes far from it, which SAM2 would answer with confidence."""
    outside = list(islice(_outside(prompts, frame), MOST_TOLD))
    if outside:
        raise InvalidFields(outside)


def _outside(prompts: Sequence[Prompt], frame: Frame) -> Iterator[FieldViolation]:
    width, height = frame.extent
    for number, prompt in enumerate(prompts):
        for index, (x, y) in enumerate(prompt.point_coords):
            if not (0 <= x <= width and 0 <= y <= height):
                message = f"({as_sent(x, y)}) is outside {frame}: at most ({width}, {height})"
                yield FieldViolation(f"prompts[{number}].point_coords[{index}]", message)
        if prompt.box and (message := _far(prompt.box, frame)):
            yield FieldViolation(f"prompts[{number}].box", message)


def _far(box: Box, frame: Frame) -> str:
    """What is wrong with a box beside the picture, or much larger than it; else empty."""
    width, height = frame.extent
    x0, y0, x1, y1 = box
    corners = f"[{as_sent(x0, y0, x1, y1)}]"
    if not (x0 < width and y0 < height and x1 > 0 and y1 > 0):
        return f"{corners} is beside {frame}: at least a part of the box must lie in it"
    if min(x0, width - x1) < -BEYOND * width or min(y0, height - y1) < -BEYOND * height:
        return f"{corners} reaches far beyond {frame}: by at most half its width and half its height"
    return ""


def prompt_tensors(prompt: Prompt, frame: Frame, field: str) -> Prompts:
    """One prompt, B = 1; a box is two points before the others, as SAM2ImagePredictor._predict joins them."""
    points = [*_corners(prompt), *prompt.point_coords]
    labels = [*(BOX_LABELS if prompt.box else ()), *prompt.point_labels]
    if len(points) != len(labels):
        raise invalid_field(f"{field}.point_labels", "give one label for each point of point_coords")
    coords = torch.tensor(points, dtype=torch.float32).view(-1, 2)
    width, height = frame.extent
    coords = to_network(coords, (height, width), frame.image_size)
    return Prompts(
        coords=coords[None] if points else None,
        labels=torch.tensor([labels], dtype=torch.int32) if points else None,
        masks=_mask(prompt.mask_input, frame, f"{field}.mask_input") if prompt.mask_input else None,
    )


def _corners(prompt: Prompt) -> list[tuple[float, float]]:
    if prompt.box is None:
        return []
    x0, y0, x1, y1 = prompt.box
    return [(x0, y0), (x1, y1)]


def _mask(tensor: WireTensor, frame: Frame, field: str) -> Tensor:
    """Logits 1 x 1 x h x w."""
    expected = (1, frame.mask_size, frame.mask_size)
    if tuple(tensor.shape) != expected:
        shown = " x ".join(str(each) for each in tensor.shape)
        raise invalid_field(
            field, f"its shape is {shown}; this model takes 1 x {expected[1]} x {expected[2]}"
        )
    if tensor.dtype not in LOGIT_TYPES:
        raise invalid_field(field, f"is {tensor.dtype.value}; logits are float32")
    dtype = np.dtype(LOGIT_TYPES[tensor.dtype])
    if len(tensor.data) != frame.mask_size**2 * dtype.itemsize:
        raise invalid_field(
            field, f"holds {len(tensor.data)} bytes; its shape needs {frame.mask_size**2 * dtype.itemsize}"
        )
    logits = np.frombuffer(tensor.data, dtype).astype(np.float32).reshape(expected)
    if not np.isfinite(logits).all():
        raise invalid_field(field, "holds values that are not finite")
    if np.abs(logits).max() > MOST_LOGIT:
        raise invalid_field(
            field, f"holds values beyond {MOST_LOGIT}; the logits of an earlier answer go from -32 to 32"
        )
    return torch.from_numpy(logits)[None]
