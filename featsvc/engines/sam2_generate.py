"""Masks of everything in a picture: what sam2's SAM2AutomaticMaskGenerator finds, in its order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torchvision.ops import batched_nms, box_area

from featsvc.engines.family import Prepared, alone
from featsvc.engines.item import Item
from featsvc.engines.options import EngineOptions
from featsvc.engines.results import MaskList, Result
from featsvc.engines.sam2_candidates import Candidates, CropSearch, joined
from featsvc.engines.sam2_grid import Crop, crops
from featsvc.engines.sam2_mask_list import MaskWriter
from featsvc.engines.sam2_model import Sam2Model
from featsvc.engines.sam2_points import PointDecoder
from featsvc.engines.sam2_presets import in_force
from featsvc.engines.sam2_view import EmbeddingCache, Subject, View
from featsvc.errors import invalid_field
from featsvc.v1.schema import GenerateMasksParams


@dataclass(frozen=True)
class PreparedSearch(Prepared):
    """A picture by its crops, and where to look in each under the options in force."""

    size: tuple[int, int]
    """Height and width of the picture as sent."""
    places: tuple[tuple[Crop, View], ...]
    params: GenerateMasksParams
    writer: MaskWriter


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
    writer = MaskWriter(whole.size, effective, options, item.chunked)
    # The first crop is the whole picture.
    views = (whole, *(subject.crop(each.box) for each in places[1:]))
    placed = tuple(zip(places, views, strict=True))
    return PreparedSearch(alone(), cost, whole.size, placed, effective, writer)


def _check_points(count: int, params: GenerateMasksParams, options: EngineOptions) -> None:
    if count > options.max_points:
        field = "params.point_grids" if params.point_grids else "params.points_per_side"
        message = f"{count} points over all crops, at most {options.max_points}"
        raise invalid_field(field, message)


def run(batch: list[PreparedSearch], params: GenerateMasksParams, loaded: Sam2Model) -> list[Result]:
    """Masks of each picture."""
    return [_mask_list(item, loaded) for item in batch]


def _mask_list(item: PreparedSearch, loaded: Sam2Model) -> MaskList:
    found = joined([_of_crop(item, crop, view, loaded) for crop, view in item.places])
    if len(item.places) > 1 and len(found):
        # Smaller crops first: their masks are finer.
        found = _distinct(found, 1 / box_area(found.crops), item.params.crop_nms_thresh)
    return item.writer.mask_list(found)


def _of_crop(item: PreparedSearch, crop: Crop, view: View, loaded: Sam2Model) -> Candidates:
    decoder = PointDecoder(loaded.network, view.embedding(loaded), loaded.steps)
    found = CropSearch(decoder, crop, item.size, item.params).candidates()
    return _distinct(found, found.ious, item.params.box_nms_thresh)


def _distinct(found: Candidates, scores: torch.Tensor, threshold: float) -> Candidates:
    """The best of those whose boxes overlap, best first."""
    one_category = torch.zeros(len(found))
    return found.kept(batched_nms(found.boxes.float(), scores, one_category, threshold))
