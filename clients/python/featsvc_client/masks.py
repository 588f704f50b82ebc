"""What one does with masks: choose, count, label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featsvc_client.mask_results import Mask, Rectangle
from featsvc_client.rle import from_coco


@dataclass(frozen=True)
class Statistics:
    """Figures of a set of masks. Areas are in pixels; all are 0 where there is no mask."""

    count: int
    covered_fraction: float
    """Part of the picture that at least one mask covers."""
    smallest_area: int
    median_area: float
    largest_area: int
    mean_predicted_iou: float
    mean_stability_score: float


# Any: entries of the REST functions hold JSON values of several types.
def from_entries(entries: Iterable[Mapping[str, Any] | NDArray[np.bool_]]) -> list[Mask]:
    """Masks of the REST functions' dictionaries, or of H x W arrays such as prompt masks (scored 1)."""
    return [
        _from_entry(each) if isinstance(each, Mapping) else _from_array(np.asarray(each) > 0)
        for each in entries
    ]


def chosen(
    masks: Iterable[Mask],
    *,
    min_area: int = 0,
    max_area: int | None = None,
    min_predicted_iou: float = 0.0,
    min_stability_score: float = 0.0,
) -> list[Mask]:
    """The masks within these limits, in their order; areas are in pixels."""
    return [
        mask
        for mask in masks
        if min_area <= mask.area <= (mask.area if max_area is None else max_area)
        and mask.predicted_iou >= min_predicted_iou
        and mask.stability_score >= min_stability_score
    ]


def statistics(masks: Sequence[Mask]) -> Statistics:
    """Figures of the masks of one picture."""
    if not masks:
        return Statistics(0, 0.0, 0, 0.0, 0, 0.0, 0.0)
    areas = [mask.area for mask in masks]
    return Statistics(
        len(masks),
        float((instance_map(masks) > 0).mean()),
        min(areas),
        float(np.median(areas)),
        max(areas),
        float(np.mean([mask.predicted_iou for mask in masks])),
        float(np.mean([mask.stability_score for mask in masks])),
    )


def instance_map(masks: Sequence[Mask]) -> NDArray[np.uint16] | NDArray[np.int32]:
    """Labels, H x W: 0 is no mask, n the n-th; where they overlap the best predicted IoU is on top.

    uint16, which PNG can hold, or int32 where there are more masks than that.
    """
    if not masks:
        raise ValueError("no masks, so the size of the picture is unknown")
    first = masks[0].segmentation
    labels = np.zeros(first.shape, np.uint16 if len(masks) <= np.iinfo(np.uint16).max else np.int32)
    # The best is drawn last, and of equals the earlier one.
    for index in sorted(range(len(masks)), key=lambda each: (masks[each].predicted_iou, -each)):
        labels[masks[index].segmentation] = index + 1
    return labels


def _from_entry(entry: Mapping[str, Any]) -> Mask:
    sent = entry["segmentation"]
    return Mask(
        from_coco(sent) if isinstance(sent, Mapping) else np.asarray(sent) > 0,
        int(entry["area"]),
        _rectangle(entry["bbox"]),
        float(entry["predicted_iou"]),
        np.asarray(entry["point_coords"], np.float64).reshape(-1, 2),
        float(entry["stability_score"]),
        _rectangle(entry["crop_box"]),
    )


def _from_array(mask: NDArray[np.bool_]) -> Mask:
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    # As the sam2 package's generator counts: from the first to the last pixel's centre.
    around = (
        (columns[0], rows[0], columns[-1] - columns[0], rows[-1] - rows[0]) if rows.size else (0, 0, 0, 0)
    )
    return Mask(
        mask,
        int(mask.sum()),
        _rectangle(around),
        1.0,
        np.zeros((0, 2)),
        1.0,
        (0.0, 0.0, float(width), float(height)),
    )


def _rectangle(values: Sequence[float]) -> Rectangle:
    x, y, width, height = (float(each) for each in values)
    return x, y, width, height
