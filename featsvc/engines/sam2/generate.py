"""Masks of everything in a picture: what sam2's SAM2AutomaticMaskGenerator finds, in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_area

from featsvc.engines.running.family import Prepared, alone
from featsvc.engines.running.gpu import usable_bytes
from featsvc.engines.running.steps import step
from featsvc.engines.sam2.candidate_list import Candidates, Gathering
from featsvc.engines.sam2.candidates import CropSearch
from featsvc.engines.sam2.crop_decoder import CropDecoder
from featsvc.engines.sam2.decoder import MULTIMASKS
from featsvc.engines.sam2.embedding import Embedding
from featsvc.engines.sam2.grid import Crop, crops
from featsvc.engines.sam2.mask_list import MaskWriter
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.view import EmbeddingCache, RequestPicture, View, embeddings
from featsvc.errors import invalid_field
from featsvc.v1.schema import GenerateMasksParams, MaskGranularity
from featsvc.work.item import PictureItem
from featsvc.work.options import EngineOptions
from featsvc.work.results import HeightWidth, MaskList

CROPS_TOGETHER = 8
"""Crops that a GPU encodes in one pass; their embeddings wait in its memory, 17 MB each in float32."""
OUTPUTS: Mapping[MaskGranularity, int] = {
    MaskGranularity.SUBPART: 0,
    MaskGranularity.PART: 1,
    MaskGranularity.WHOLE: 2,
}
"""Which mask of a point each is, as SAM was trained; of all it is any."""
MOST_BOXES = 8192
"""Boxes that torchvision judges in well under a second: it compares each pair of them in one piece."""


class CropView(NamedTuple):
    """Where to look, and what the encoder says of it."""

    crop: Crop
    view: View


@dataclass(frozen=True)
class MaskLists:
    """Masks of a picture, and lists of them that may share some."""

    candidates: Candidates
    chosen: tuple[Tensor, ...]
    """Indices of each list, in its order."""

    def only_used(self) -> MaskLists:
        """Without those that are in no list."""
        used, places = torch.unique(torch.cat(self.chosen), return_inverse=True)
        lists = places.split([len(each) for each in self.chosen])
        return MaskLists(self.candidates.at(used), lists)


@dataclass(frozen=True)
class PreparedSearch(Prepared):
    """A picture by its crops, and where to look in each."""

    size: HeightWidth
    """Height and width of the picture as sent."""
    crops: tuple[CropView, ...]
    params: GenerateMasksParams
    writer: MaskWriter


def prepare(
    cache: EmbeddingCache,
    item: PictureItem,
    params: GenerateMasksParams,
    loaded: Sam2Model,
    options: EngineOptions,
) -> PreparedSearch:
    """Decodes the picture if need be; the parameters are those in force, without a preset behind them."""
    return prepared(RequestPicture(cache, item, loaded, options), params)


def prepared(picture: RequestPicture, params: GenerateMasksParams) -> PreparedSearch:
    """The same of a picture that may be decoded already."""
    item, loaded, options = picture.item, picture.loaded, picture.options
    whole = picture.whole()
    parts = crops(whole.size, params)
    count = sum(len(each.points) for each in parts)
    _check_points(count, params, options)
    cost = loaded.image_size**2 * len(parts)
    writer = MaskWriter(whole.size, params, options, item.way)
    # The first crop is the whole picture.
    views = (whole, *(picture.crop(each.box) for each in parts[1:]))
    searched = tuple(map(CropView, parts, views))
    flop = sum(view.flop(loaded) for view in views) + prompts_of(count, params) * loaded.prompt_flop
    return PreparedSearch(
        alone(), cost, flop, whole.size, searched, params, writer, orientation=whole.orientation
    )


def prompts_of(points: int, params: GenerateMasksParams) -> int:
    """Questions to the mask decoder: each point, and with `use_m2m` each of its masks once more."""
    masks = MULTIMASKS if params.multimask_output else 1
    return points * (1 + masks if params.use_m2m else 1)


def _check_points(count: int, params: GenerateMasksParams, options: EngineOptions) -> None:
    if count > options.max_points:
        field = "params.point_grids" if params.point_grids else "params.points_per_side"
        message = f"{count} points over all crops, at most {options.max_points}"
        raise invalid_field(field, message)


def run(batch: list[PreparedSearch], params: GenerateMasksParams, loaded: Sam2Model) -> list[MaskList]:
    """Masks of each picture."""
    return [_mask_list(item, loaded) for item in batch]


def _mask_list(item: PreparedSearch, loaded: Sam2Model) -> MaskList:
    return item.writer.mask_list(candidates_of(item, loaded))


def candidates_of(item: PreparedSearch, loaded: Sam2Model) -> Candidates:
    """The masks of a picture with their run lengths, in the order of the answer."""
    found = mask_lists(item, loaded, (MaskGranularity.ALL,))
    return found.candidates.at(found.chosen[0])


def mask_lists(
    item: PreparedSearch, loaded: Sam2Model, granularities: Sequence[MaskGranularity]
) -> MaskLists:
    """The masks of each granularity, chosen as if there were no others; all are decoded and measured once."""
    embedded = _embedded([each.view for each in item.crops], loaded)
    most_bytes = loaded.passes.kept_bytes(usable_bytes(loaded.device))
    found = Gathering(item.size, item.params.mask_threshold, most_bytes)
    chosen: list[list[Tensor]] = [[] for _ in granularities]
    count = 0
    for part, each in zip(item.crops, embedded, strict=True):
        own = _of_crop(item, part.crop, each, loaded, granularities)
        for every, indices in zip(chosen, own.chosen, strict=True):
            every.append(indices + count)
        count += len(own.candidates)
        found.add(own.candidates)
    candidates, lists = found.all(), [torch.cat(every) for every in chosen]
    if len(item.crops) > 1:
        lists = [_over_crops(item, candidates, every) for every in lists]
    used = MaskLists(candidates, tuple(lists)).only_used()
    return replace(used, candidates=used.candidates.completed(item.size, item.params.mask_threshold))


def _over_crops(item: PreparedSearch, candidates: Candidates, indices: Tensor) -> Tensor:
    """The best of a list: of smaller crops first, for their masks are finer."""
    own = 1 / box_area(candidates.crops[indices])
    boxes = candidates.boxes[indices].float()
    return indices[distinct(boxes, own, item.params.crop_nms_thresh, item.writer.check_count)]


def _embedded(views: list[View], loaded: Sam2Model) -> Iterator[Embedding]:
    """The embedding of each view, made when it is asked for; together with some of the next where that is faster."""
    together = CROPS_TOGETHER if loaded.shares_passes else 1
    for start in range(0, len(views), together):
        yield from embeddings(views[start : start + together], loaded)


def _of_crop(
    item: PreparedSearch,
    crop: Crop,
    embedding: Embedding,
    loaded: Sam2Model,
    granularities: Sequence[MaskGranularity],
) -> MaskLists:
    points = PointDecoder(loaded.network, embedding, loaded.steps)
    decoder = CropDecoder(points, loaded.passes, crop.size, item.params)
    candidates = CropSearch(decoder, crop, item.size, item.params).candidates()
    # Of several crops fewer remain in the end.
    check = item.writer.check_count if len(item.crops) == 1 else _any_number
    chosen = []
    for granularity in granularities:
        of_kind = OUTPUTS.get(granularity)
        is_own = candidates.outputs >= 0 if of_kind is None else candidates.outputs == of_kind
        own = is_own.nonzero().flatten()
        boxes, ious = candidates.boxes[own].float(), candidates.ious[own]
        chosen.append(own[distinct(boxes, ious, item.params.box_nms_thresh, check)])
    used = MaskLists(candidates, tuple(chosen)).only_used()
    return replace(used, candidates=used.candidates.apart())


def _any_number(count: int) -> None:
    """Is right."""


def distinct(
    boxes: Tensor, scores: Tensor, threshold: float, check: Callable[[int], None] = lambda count: None
) -> Tensor:
    """Indices of the best of boxes n x 4 whose IoU is over the threshold, best first: `batched_nms` of one category.

    Where they are many, `check` hears how many there are already, and may raise.
    """
    if len(boxes) <= MOST_BOXES:
        best: Tensor = batched_nms(boxes, scores, torch.zeros(len(boxes)), threshold)
        return best
    order = scores.sort(descending=True, stable=True).indices
    corners = boxes[order].numpy()
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    left = np.arange(len(corners))
    chosen: list[int] = []
    while len(left):
        step()
        first, left = left[0], left[1:]
        chosen.append(int(first))
        check(len(chosen))
        low = np.maximum(corners[first, :2], corners[left, :2])
        high = np.minimum(corners[first, 2:], corners[left, 2:])
        shared = np.prod(np.maximum(high - low, np.float32(0)), axis=1)
        # As torchvision: a float32 against a double; of two empty boxes the IoU is no number, and both stay.
        with np.errstate(invalid="ignore"):
            iou = shared / (areas[first] + areas[left] - shared)
        left = left[~(iou.astype(np.float64) > threshold)]
    indices = order[torch.tensor(chosen, dtype=torch.long)].sort().values
    # As torchvision orders so many: of equal scores any may be the first.
    return indices[scores[indices].sort(descending=True).indices]
