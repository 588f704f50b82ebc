"""Masks of everything in a picture: what sam2's SAM2AutomaticMaskGenerator finds, in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torchvision.ops import batched_nms, box_area

from featsvc.engines import rle
from featsvc.engines.family import Prepared, alone
from featsvc.engines.item import Item
from featsvc.engines.options import EngineOptions
from featsvc.engines.reply_size import bitmap_bytes, check_masks, check_reply
from featsvc.engines.results import Mask, MaskList, Rectangle, Result, Rle
from featsvc.engines.sam2_candidates import Candidates, CropSearch, joined
from featsvc.engines.sam2_grid import Crop, crops
from featsvc.engines.sam2_model import Sam2Model
from featsvc.engines.sam2_presets import in_force
from featsvc.engines.sam2_view import EmbeddingCache, Subject, View
from featsvc.errors import invalid_field
from featsvc.v1.schema import GenerateMasksParams, OutputMode

WRITERS: Mapping[OutputMode, Callable[[rle.Counts, int, int], Rle | rle.Bitmap]] = {
    OutputMode.BINARY_MASK: rle.bitmap,
    OutputMode.UNCOMPRESSED_RLE: rle.uncompressed,
    OutputMode.COCO_RLE: rle.compressed,
}


@dataclass(frozen=True)
class PreparedSearch(Prepared):
    """A picture by its crops, and where to look in each under the options in force."""

    size: tuple[int, int]
    """Height and width of the picture as sent."""
    places: tuple[tuple[Crop, View], ...]
    params: GenerateMasksParams
    options: EngineOptions


def prepare(
    cache: EmbeddingCache,
    item: Item,
    params: GenerateMasksParams,
    loaded: Sam2Model,
    options: EngineOptions,
) -> PreparedSearch:
    """Decodes the picture if need be and applies the preset."""
    effective = in_force(params)
    subject = Subject(cache, item, loaded, options)
    whole = subject.whole()
    places = crops(whole.size, effective)
    _check_points(sum(len(each.points) for each in places), effective, options)
    cost = loaded.image_size**2 * len(places)
    # The first crop is the whole picture.
    views = (whole, *(subject.crop(each.box) for each in places[1:]))
    placed = tuple(zip(places, views, strict=True))
    return PreparedSearch(alone(), cost, whole.size, placed, effective, options)


def _check_points(count: int, params: GenerateMasksParams, options: EngineOptions) -> None:
    if count > options.max_points:
        field = "params.point_grids" if params.point_grids else "params.points_per_side"
        message = f"{count} points over all crops, at most {options.max_points}"
        raise invalid_field(field, message)


def run(batch: list[PreparedSearch], params: GenerateMasksParams, loaded: Sam2Model) -> list[Result]:
    """Masks of each picture."""
    return [_mask_list(item, loaded) for item in batch]


def _mask_list(item: PreparedSearch, loaded: Sam2Model) -> MaskList:
    size = item.size
    found = joined([_of_crop(item, crop, view, loaded) for crop, view in item.places])
    if len(item.places) > 1 and len(found):
        # Smaller crops first: their masks are finer.
        found = _distinct(found, 1 / box_area(found.crops), item.params.crop_nms_thresh)
    if item.params.output_mode is OutputMode.BINARY_MASK:
        remedy = "output_mode coco_rle makes it fit"
        check_reply(bitmap_bytes(len(found), *size), item.options, remedy)
        check_masks(len(found), size, item.options, remedy)
    return MaskList(tuple(_mask(found, index, size, item.params) for index in range(len(found))), *size)


def _of_crop(item: PreparedSearch, crop: Crop, view: View, loaded: Sam2Model) -> Candidates:
    found = CropSearch(loaded.network, view.embedding(loaded), crop, item.size, item.params).candidates()
    return _distinct(found, found.ious, item.params.box_nms_thresh)


def _distinct(found: Candidates, scores: torch.Tensor, threshold: float) -> Candidates:
    """The best of those whose boxes overlap, best first."""
    one_category = torch.zeros(len(found))
    return found.kept(batched_nms(found.boxes.float(), scores, one_category, threshold))


def _mask(found: Candidates, index: int, size: tuple[int, int], params: GenerateMasksParams) -> Mask:
    x, y = found.points[index].tolist()
    return Mask(
        segmentation=WRITERS[params.output_mode](found.runs[index], *size),
        area=rle.area(found.runs[index]),
        bbox=_rectangle(found.boxes[index]),
        predicted_iou=found.ious[index].item(),
        point_coords=((x, y),),
        stability_score=found.stability[index].item(),
        crop_box=_rectangle(found.crops[index]),
    )


def _rectangle(corners: torch.Tensor) -> Rectangle:
    x0, y0, x1, y1 = corners.float().tolist()
    return x0, y0, x1 - x0, y1 - y0
