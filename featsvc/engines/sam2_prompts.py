"""Prompts to the tensors that SAM2's prompt encoder takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from featsvc.engines.sam2_embedding import to_network
from featsvc.errors import invalid_field
from featsvc.v1.schema import DType, Prompt
from featsvc.v1.schema import Tensor as WireTensor

BOX_LABELS = (2, 3)
"""Labels that the prompt encoder has for a box's two corners."""
LOGIT_TYPES: Mapping[DType, str] = {DType.FLOAT32: "<f4", DType.FLOAT16: "<f2"}


@dataclass(frozen=True)
class Prompts:
    """B prompts in the frame of the encoder's square."""

    coords: Tensor | None
    """B x n x 2."""
    labels: Tensor | None
    """B x n."""
    masks: Tensor | None
    """Logits of an earlier answer, B x 1 x h x w."""

    def to(self, device: torch.device) -> Prompts:
        """The same on a device."""
        return Prompts(
            *(each if each is None else each.to(device) for each in (self.coords, self.labels, self.masks))
        )


def together(prompts: Sequence[Prompts], at_once: int) -> Iterator[tuple[list[int], Prompts]]:
    """Prompts that share a pass of the decoder, with their places in the order given.

    Only those of the same number of points share one: padding would change an answer. Empty ones all have the
    same answer, so they are one prompt.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for place, each in enumerate(prompts):
        parts = (each.coords, each.masks)
        alike.setdefault(tuple(part if part is None else part.shape for part in parts), []).append(place)
    for shapes, places in alike.items():
        count = len(places) if shapes == (None, None) else at_once
        for start in range(0, len(places), count):
            some = places[start : start + count]
            yield some, _joined([prompts[place] for place in some])


def _joined(prompts: list[Prompts]) -> Prompts:
    def joined(parts: list[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        return torch.cat(given) if given else None

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


def prompt_tensors(prompt: Prompt, frame: Frame, field: str) -> Prompts:
    """One prompt, B = 1; a box is two points before the others, as SAM2ImagePredictor._predict joins them."""
    points = [*_corners(prompt), *prompt.point_coords]
    labels = [*(BOX_LABELS if prompt.box else ()), *prompt.point_labels]
    if len(points) != len(labels):
        raise invalid_field(f"{field}.point_labels", "give one label for each point of point_coords")
    coords = torch.tensor(points, dtype=torch.float32).view(-1, 2)
    size = (frame.height, frame.width) if frame.in_pixels else (1, 1)
    placed = to_network(coords, size, frame.image_size)
    return Prompts(
        coords=placed[None] if points else None,
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
    return torch.from_numpy(logits)[None]
