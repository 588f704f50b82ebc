"""Where a picture is most like a text, and what SAM2 makes of these places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from featsvc.engines.objects.describing import ByMap
from featsvc.engines.objects.finding import Sought
from featsvc.engines.objects.overlaps import ious, unlike
from featsvc.engines.objects.sources import Found, Prompted, check_objects
from featsvc.engines.running.transfer import on_host
from featsvc.engines.sam2.prompts import Frame, prompt_tensors
from featsvc.engines.sam2.view import RequestPicture
from featsvc.errors import invalid_field
from featsvc.v1.schema import FindObjectsParams, Point, Prompt
from featsvc.work.results import Geometry

AROUND = 3
"""Cells along a side of the square in which a peak is the highest."""


@dataclass(frozen=True)
class Peaks:
    """Masks of the places that are most like what is looked for."""

    request: RequestPicture
    way: ByMap
    params: FindObjectsParams
    queries: int

    @property
    def flop(self) -> float:
        """Encoder and all prompts; the dense features are counted where objects are described."""
        return self.request.loaded.encoder_flop + self.expected * self.request.loaded.prompt_flop

    @property
    def pixels(self) -> int:
        """What the encoder sees."""
        return self.request.loaded.image_size**2

    @property
    def expected(self) -> int:
        """As many as may be."""
        return self.queries * self.params.max_peaks

    def found(self, sought: Sought) -> Found:
        """The masks of all peaks, the best by predicted quality first; of two that overlap too much the better."""
        heat = heat_maps(self.way.features, sought.by_first(), self.params.relevancy_scale)
        places = peaks(heat, self.params.max_peaks)
        view, loaded = self.request.whole(), self.request.loaded
        prompts = tuple(
            Prompt(point_coords=(position(cell, self.way.prepared.input.geometry),), point_labels=(1,))
            for cell in dict.fromkeys(map(tuple, places.tolist()))
        )
        check_objects(
            len(prompts), view.size, self.request.options, "a smaller max_peaks or fewer texts make it fit"
        )
        frame = Frame(*view.size, True, loaded.image_size, loaded.mask_size)
        tensors = tuple(prompt_tensors(each, frame, "peaks") for each in prompts)
        every = Prompted(loaded, view, tensors, self.params).found()
        overlaps = ious(every.shared)
        order = torch.argsort(every.masks.ious, descending=True, stable=True).tolist()
        return every.at(
            torch.tensor(list(unlike(order, overlaps, self.params.max_overlap)), dtype=torch.long)
        )


def check_way(way: object) -> ByMap:
    """The way to describe that has the dense features; raises InvalidFields where the first is another."""
    if not isinstance(way, ByMap):
        message = "peaks are those of dense features: let the first way be pooled, or search masks"
        raise invalid_field("params.describe", message)
    return way


def heat_maps(features: Tensor, sought: Sought, scale: float) -> Tensor:
    """How well each cell of dense features h x w x D fits each of Q, Q x h x w: as objects are scored."""
    height, width, _ = features.shape
    vectors = F.normalize(features.flatten(0, 1).float(), dim=-1)
    return sought.scores([vectors], scale).T.reshape(-1, height, width)


def peaks(heat: Tensor, most: int) -> Tensor:
    """Row and column of the highest cells of maps Q x h x w that no neighbour surpasses, `most` of each, n x 2."""
    highest = F.max_pool2d(heat[:, None], AROUND, stride=1, padding=AROUND // 2)[:, 0]
    values = torch.where(heat >= highest, heat, -torch.inf).flatten(1)
    best = values.topk(min(most, values.shape[1]), dim=1)
    places, heights = on_host(best.indices, best.values)
    cells = places[heights > -torch.inf]
    return torch.stack([cells // heat.shape[2], cells % heat.shape[2]], dim=1)


def position(cell: tuple[int, int], geometry: Geometry) -> Point:
    """The centre of a cell, in pixels of the picture as sent."""
    g, (row, column) = geometry, cell
    x = (column * g.stride + g.patch_size / 2 + g.crop_left) * g.original_width / g.uncropped_width
    y = (row * g.stride + g.patch_size / 2 + g.crop_top) * g.original_height / g.uncropped_height
    return Point(min(x, g.original_width), min(y, g.original_height))
