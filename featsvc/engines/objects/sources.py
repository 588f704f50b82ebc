"""The masks of a request about objects: made by SAM2, or as they were given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.answers import rle
from featsvc.engines.answers.limits import check_masks
from featsvc.engines.answers.mask_encoding import Bitmaps
from featsvc.engines.objects import given
from featsvc.engines.objects.crops import box_of
from featsvc.engines.objects.overlaps import Matrix, check_runs, intersections
from featsvc.engines.objects.suppression import suppresses, unsuppressed
from featsvc.engines.running.homeward import Later, all_of, when_home
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_host
from featsvc.engines.sam2 import generate
from featsvc.engines.sam2.candidate_list import Candidates
from featsvc.engines.sam2.decoder import full_size
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.predict import PromptBatch, low_res_masks
from featsvc.engines.sam2.prompts import Frame, Prompts, check_places, prompt_tensors
from featsvc.engines.sam2.view import RequestPicture, View
from featsvc.errors import ReplyTooLarge, invalid_field
from featsvc.v1.schema import GenerateMasksParams, MaskGranularity, ObjectSource
from featsvc.work.objects import ObjectsParams
from featsvc.work.options import EngineOptions
from featsvc.work.results import HeightWidth

Indices = NDArray[np.int64]
OF_A_LIST = 64
"""Automatic masks, about."""
FEWER = (
    "a higher pred_iou_thresh, stability_score_thresh or mask_score_thresh, a smaller points_per_side, or fewer "
    "granularities leave fewer"
)


@dataclass(frozen=True)
class Found:
    """The masks of all objects."""

    masks: Candidates
    """With their run lengths, and what SAM2 says of each."""
    bitmaps: Bitmaps
    """N x H x W."""
    shared: Matrix
    """Pixels that each two share, N x N."""
    have_points: bool = False
    """Whether points gave them."""
    granularities: tuple[MaskGranularity, ...] = ()
    """The list that each is of; none where there are no lists."""

    def at(self, indices: Tensor) -> Found:
        """Those at these indices, in their order."""
        some = indices.numpy()
        return replace(
            self,
            masks=self.masks.at(indices),
            bitmaps=self.bitmaps[some],
            shared=self.shared[np.ix_(some, some)],
            granularities=tuple(self.granularities[index] for index in some) if self.granularities else (),
        )


class Source(Protocol):
    """Where masks come from."""

    @property
    def flop(self) -> float:
        """What making them costs, about."""

    @property
    def pixels(self) -> int:
        """Memory for the batch budget."""

    @property
    def expected(self) -> int:
        """How many masks it is thought to have before they are made: what their vectors cost depends on it."""

    def found(self) -> Found:
        """The masks; raises ReplyTooLarge where they are too many."""


@dataclass(frozen=True)
class Automatic:
    """All that SAM2 finds."""

    loaded: Sam2Model
    search: generate.PreparedSearch
    params: ObjectsParams
    options: EngineOptions

    @property
    def flop(self) -> float:
        """Encoder and all points."""
        return self.search.flop

    @property
    def pixels(self) -> int:
        """What the encoder sees."""
        return self.search.pixels

    @property
    def expected(self) -> int:
        """The same for each list."""
        return OF_A_LIST * max(1, len(self.params.granularities))

    def found(self) -> Found:
        """The masks of each list in the order of the sam2 package's generator."""
        size, granularities = self.search.size, self.params.granularities
        every = generate.mask_lists(self.search, self.loaded, granularities or (MaskGranularity.ALL,))
        masks = every.candidates
        lists = [self._staying(masks, own.numpy()) for own in every.chosen]
        chosen = np.concatenate(lists)
        check_objects(len(chosen), size, self.options, FEWER)
        # One that is in several lists is compared once.
        used, places = np.unique(chosen, return_inverse=True)
        shared = intersections([masks.runs[index] for index in used])
        names = [name for name, own in zip(granularities, lists, strict=False) for _ in own]
        bitmaps = np.zeros((len(chosen), *size), np.bool_)
        for bitmap, index in zip(bitmaps, chosen, strict=True):
            step()
            bitmap[:] = rle.bitmap(masks.runs[index], *size)
        return Found(
            masks.at(torch.from_numpy(chosen)),
            bitmaps,
            shared[np.ix_(places, places)],
            have_points=True,
            granularities=tuple(names),
        )

    def _staying(self, masks: Candidates, own: Indices) -> Indices:
        """Those of a list that no other of it suppresses; raises ReplyTooLarge where it is too long to be looked at."""
        check_objects(len(own), self.search.size, self.options, FEWER)
        if not suppresses(self.params):
            return own
        scores = (masks.ious.double() * masks.stability.double()).numpy()[own]
        shared = intersections([masks.runs[index] for index in own])
        return own[unsuppressed(shared, scores, self.params)]


@dataclass(frozen=True)
class Prompted:
    """What SAM2 makes of prompts."""

    loaded: Sam2Model
    view: View
    prompts: tuple[Prompts, ...]
    params: ObjectsParams

    @property
    def flop(self) -> float:
        """Encoder and all prompts."""
        return self.view.flop(self.loaded) + len(self.prompts) * self.loaded.prompt_flop

    @property
    def pixels(self) -> int:
        """What the encoder sees."""
        return self.loaded.image_size**2

    @property
    def expected(self) -> int:
        """One for each."""
        return len(self.prompts)

    def found(self) -> Found:
        """For each prompt the mask with the best predicted quality."""
        known = [self.view.embedding(self.loaded)]
        asked = PromptBatch(list(self.prompts), [0] * len(self.prompts))
        bitmaps = np.zeros((len(self.prompts), *self.view.size), np.bool_)
        ious = torch.zeros(len(self.prompts), device=self.loaded.device)

        def place(index: int, pixels: Tensor) -> None:
            bitmaps[index] = pixels.numpy()

        def begun() -> Iterator[Later[None]]:
            for index, masks in low_res_masks(known, asked, self.loaded, self.params.multimask_output):
                step()
                # As a tensor: a GPU would be waited for to know its number.
                best = masks.ious[0].argmax()[None]
                ious[index] = masks.ious[0][best][0]
                full = full_size(masks.logits[:, best], self.view.size)[0, 0]
                yield when_home(partial(place, index), full > self.params.mask_threshold)

        coming = all_of(begun())
        (home,) = on_host(ious)
        for each in coming:
            each.result()
        return _found(bitmaps, home)


@dataclass(frozen=True)
class Given:
    """What the caller has."""

    bitmaps: Bitmaps
    flop = 0.0
    pixels = 0

    @property
    def expected(self) -> int:
        """All."""
        return len(self.bitmaps)

    def found(self) -> Found:
        """The masks in the caller's order."""
        return _found(self.bitmaps, torch.zeros(len(self.bitmaps)))


def check_objects(count: int, size: HeightWidth, options: EngineOptions, remedy: str) -> None:
    """Raises ReplyTooLarge where SAM2 has found, or is to make, more objects than a request may have."""
    if count > options.max_objects:
        message = f"{count} objects were found, at most {options.max_objects} (--max-objects)"
        raise ReplyTooLarge(f"{message}: {remedy}")
    check_masks(count, size, options, remedy)


def automatic(picture: RequestPicture, params: ObjectsParams) -> Automatic:
    """All that SAM2 finds in a picture, by the parameters in force."""
    if params.granularities and not params.multimask_output:
        message = "are those of the three masks of a point: they need multimask_output true"
        raise invalid_field("params.granularities", message)
    search = generate.prepared(picture, mask_params(params))
    return Automatic(picture.loaded, search, params, picture.options)


def mask_params(params: ObjectsParams) -> GenerateMasksParams:
    """Those that say how masks are looked for and written."""
    names = GenerateMasksParams.model_fields
    return GenerateMasksParams.model_construct(**{name: getattr(params, name) for name in names})


def prompted(picture: RequestPicture, source: ObjectSource, params: ObjectsParams) -> Prompted:
    """What the prompts of a request point at."""
    view, loaded = picture.whole(), picture.loaded
    check_objects(len(source.prompts), view.size, picture.options, "fewer prompts at once make it fit")
    frame = Frame(*view.size, True, loaded.image_size, loaded.mask_size)
    check_places(source.prompts, frame)
    prompts = tuple(
        prompt_tensors(each, frame, f"source.prompts[{number}]") for number, each in enumerate(source.prompts)
    )
    return Prompted(loaded, view, prompts, params)


def given_masks(source: ObjectSource, size: HeightWidth, options: EngineOptions) -> Given:
    """The masks that a request holds. Raises InvalidFields where one does not fit, or there are too many."""
    count = given.count_of(source)
    if count > options.max_objects:
        raise invalid_field("source", f"{count} objects, at most {options.max_objects} (--max-objects)")
    check_masks(count, size, options, "send fewer at once")
    masks = list(given.masks_of(source, size, options.max_objects))
    check_masks(len(masks), size, options, "send fewer at once")
    return Given(np.stack(masks) if masks else np.zeros((0, *size), np.bool_))


def _found(bitmaps: Bitmaps, ious: Tensor) -> Found:
    height, width = bitmaps.shape[1:]
    count = len(bitmaps)
    masks = Candidates(
        boxes=_corners(bitmaps),
        ious=ious,
        points=torch.zeros(count, 2),
        stability=torch.zeros(count),
        outputs=torch.zeros(count, dtype=torch.long),
        crops=torch.tensor([[0, 0, width, height]]).expand(count, -1),
        masks=tuple(_runs(bitmaps)),
    )
    return Found(masks, bitmaps, intersections(masks.runs))


def _runs(bitmaps: Bitmaps) -> Iterator[Counts]:
    """Run lengths of each mask; raises InvalidFields as soon as they are too many."""
    count = 0
    for mask in bitmaps:
        step()
        own = rle.run_lengths(mask)
        count += len(own)
        check_runs(count)
        yield own


def _corners(bitmaps: Iterable[Bitmaps]) -> Tensor:
    """First and last column and row of each mask, as sam2 has boxes; zeros around nothing."""
    boxes = [box_of(mask) for mask in bitmaps]
    return torch.tensor([(x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)) for x0, y0, x1, y1 in boxes]).view(-1, 4)
