"""What the gRPC clients answer about masks: their pixels stay packed as they came until they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featsvc.codec.timing import Timing
from featsvc.v1 import sam2_pb2, tensor_pb2
from featsvc_client.brief import Brief, listed
from featsvc_client.pixels import Bitmap, InSummary, Label, Pixels, Png, label_map
from featsvc_client.results import Beside, array, floats
from featsvc_client.rle import Rle, from_mask

Rectangle = tuple[float, float, float, float]
"""x, y, width, height in pixels of the picture as sent."""


@dataclass(frozen=True, eq=False, repr=False)
class Mask(Brief):
    """One automatic mask, its pixels packed as they came: hundreds of them unpacked fill a memory."""

    pixels: Pixels | NDArray[np.bool_]
    area: int
    bbox: Rectangle
    predicted_iou: float
    point_coords: NDArray[np.float64]
    """N x 2, the points that gave this mask."""
    stability_score: float
    crop_box: Rectangle

    @property
    def segmentation(self) -> NDArray[np.bool_]:
        """The mask, H x W; unpacked anew by every access."""
        return self.pixels if isinstance(self.pixels, np.ndarray) else self.pixels.decoded()


@dataclass(frozen=True, eq=False, repr=False)
class MasksSummary(Brief):
    """What is known about all masks of a picture."""

    count: int
    height: int
    """Of the picture as sent, in pixels."""
    width: int
    model: str
    """Key of the model that answered."""
    image_digest: str = ""
    """Name of the picture: give it instead of the picture in further questions."""
    label_map: NDArray[np.uint16] | None = None
    """H x W, where masks were asked for so: 0 is no mask, else 1 + the index of the best one there."""
    image_orientation: int = 0
    """How its file says that it is to be shown, as EXIF counts; 1 is upright, 0 not told."""
    timing: Timing | None = field(default=None, compare=False, repr=False)
    """What the answer has taken; None where the server does not say."""


class Masks(list[Mask]):
    """The masks of a picture, in the order of the sam2 package's generator, and what is known about all of them."""

    def __init__(self, masks: Iterable[Mask], summary: MasksSummary) -> None:
        super().__init__(masks)
        self.summary = summary

    def __repr__(self) -> str:
        return listed(f"Masks: {len(self)}, {self.summary!r}", self)


@dataclass(frozen=True, eq=False, repr=False)
class PromptMasks(Brief):
    """The masks of one prompt."""

    pixels: tensor_pb2.Tensor | tuple[Pixels, ...]
    """The masks as they were sent."""
    iou_predictions: NDArray[np.float32]
    """K, the quality that the model predicts."""
    low_res_masks: NDArray[np.float32]
    """K x 256 x 256 (smaller for demo-sam2), logits: one of them, `[[best]]`, can prompt the next call.

    0 x 0 x 0 where they were not wanted.
    """
    model: str
    image_digest: str = ""
    """Name of the picture: give it instead of the picture in further questions."""
    label_map: NDArray[np.uint16] | None = None
    """H x W, where masks were asked for so: 0 is no mask, else 1 + the index of the best one there."""
    image_orientation: int = 0
    """How its file says that it is to be shown, as EXIF counts; 1 is upright, 0 not told."""
    timing: Timing | None = field(default=None, compare=False, repr=False)
    """What the answer has taken; None where the server does not say."""

    @cached_property
    def masks(self) -> NDArray[np.bool_] | NDArray[np.float32]:
        """K x H x W, bool; float32 for logits, or where float32 was asked for."""
        if isinstance(self.pixels, tuple):
            return np.stack([each.decoded() for each in self.pixels])
        found = array(self.pixels)
        return found.view(np.bool_) if found.dtype == np.bool_ else found.astype(np.float32, copy=False)


def masks(reply: sam2_pb2.GenerateMasksResponse, beside: Beside) -> Masks:
    """The masks of an answer, in its order."""
    labels = label_map(reply.label_map) if reply.HasField("label_map") else None
    return Masks(
        [
            mask_of(each, InSummary(number) if labels is None else Label(labels, number))
            for number, each in enumerate(reply.masks, 1)
        ],
        MasksSummary(
            len(reply.masks),
            reply.height,
            reply.width,
            reply.model,
            reply.image_digest,
            labels,
            reply.image_orientation,
            beside.timing,
        ),
    )


def streamed_mask(mask: sam2_pb2.Mask, number: int) -> Mask:
    """The mask that came as the first, second … of a stream."""
    return mask_of(mask, InSummary(number))


def summary(found: sam2_pb2.MasksSummary, beside: Beside) -> MasksSummary:
    """What a stream of masks ends with."""
    labels = label_map(found.label_map) if found.HasField("label_map") else None
    return MasksSummary(
        found.count,
        found.height,
        found.width,
        found.model,
        found.image_digest,
        labels,
        found.image_orientation,
        beside.timing,
    )


def prompt_masks(reply: sam2_pb2.PredictMasksResponse, beside: Beside) -> list[PromptMasks]:
    """The masks of each prompt, in the order of the prompts; all have the same timing."""
    return [_prompt_masks(each, reply, beside) for each in reply.results]


def _prompt_masks(
    found: sam2_pb2.PromptMasks, reply: sam2_pb2.PredictMasksResponse, beside: Beside
) -> PromptMasks:
    scores = floats(found.iou_predictions)
    labels = label_map(found.label_map) if found.HasField("label_map") else None
    low_res = (
        floats(found.low_res_masks) if found.HasField("low_res_masks") else np.zeros((0, 0, 0), np.float32)
    )
    return PromptMasks(
        _prompt_pixels(found, labels, scores.size),
        scores,
        low_res,
        reply.model,
        reply.image_digest,
        labels,
        reply.image_orientation,
        beside.timing,
    )


def _prompt_pixels(
    found: sam2_pb2.PromptMasks, labels: NDArray[np.uint16] | None, count: int
) -> tensor_pb2.Tensor | tuple[Pixels, ...]:
    if labels is not None:
        return tuple(Label(labels, number) for number in range(1, count + 1))
    return tuple(map(_rle, found.rle)) or tuple(map(Png, found.png)) or found.masks


def mask_of(mask: sam2_pb2.Mask, elsewhere: Pixels) -> Mask:
    """The mask of a message; a message without pixels has them elsewhere."""
    form = mask.WhichOneof("segmentation")
    return Mask(
        elsewhere if form is None else PIXELS[form](mask),
        mask.area,
        _rectangle(mask.bbox),
        mask.predicted_iou,
        np.array([(point.x, point.y) for point in mask.point_coords], np.float64).reshape(-1, 2),
        mask.stability_score,
        _rectangle(mask.crop_box),
    )


def coco_annotation(mask: Mask) -> dict[str, Any]:  # Any: JSON
    """The mask as COCO's format calls its parts; scores are additions that its tools ignore."""
    runs = mask.pixels if isinstance(mask.pixels, Rle) else from_mask(mask.segmentation)
    return {
        "segmentation": runs.coco(),
        "area": mask.area,
        # Not the answer's own, which is sam2's and a pixel narrower and lower than COCO's.
        "bbox": list(runs.rectangle()),
        "iscrowd": 0,
        "category_id": 1,
        "predicted_iou": mask.predicted_iou,
        "stability_score": mask.stability_score,
    }


def _rle(rle: sam2_pb2.Rle) -> Rle:
    counts = rle.coco if rle.WhichOneof("runs") == "coco" else tuple(rle.lengths.counts)
    return Rle(counts, (rle.height, rle.width))


def _rectangle(rectangle: sam2_pb2.Rectangle) -> Rectangle:
    return (rectangle.x, rectangle.y, rectangle.width, rectangle.height)


PIXELS: Mapping[str, Callable[[sam2_pb2.Mask], Pixels]] = {
    "bitmap": lambda mask: Bitmap(mask.bitmap),
    "rle": lambda mask: _rle(mask.rle),
    "png": lambda mask: Png(mask.png),
}
