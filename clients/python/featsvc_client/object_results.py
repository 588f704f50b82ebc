"""What the gRPC clients answer about objects: masks with vectors that describe them, and the forms that others take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.codec.timing import Timing
from featsvc.twin.messages import words
from featsvc.v1 import objects_pb2
from featsvc_client.brief import FEW, Brief, listed
from featsvc_client.mask_results import Mask, coco_annotation, mask_of
from featsvc_client.pixels import InSummary, Label, label_map
from featsvc_client.results import Beside, Rounding, as_float32, sent

GRANULARITIES = words(objects_pb2.MaskGranularity.DESCRIPTOR)

if TYPE_CHECKING:
    import pandas as pd
    import supervision as sv


@dataclass(frozen=True, eq=False, repr=False)
class DescribedObject(Mask):
    """One object: its mask, and where it stands among the others."""

    level: int = 0
    """How many objects contain it, one in the other: 0 is a whole."""
    parent: int | None = None
    """Index of the smallest object that contains it; None of a whole."""
    granularity: str | None = None
    """The list of automatic masks that it is of; None where `granularities` asked for none."""


@dataclass(frozen=True, eq=False, repr=False)
class ObjectVectors(Brief):
    """The vectors of all objects in one way."""

    raw: NDArray[np.generic]
    """As they were sent: float32, float16, int8 to be scaled, or the bits of bfloat16 as uint16."""
    model: str
    """Key of the model whose vectors they are."""
    rounding: Rounding | None = None
    """What was rounded; None for float32."""

    @cached_property
    def array(self) -> NDArray[np.float32]:
        """The vectors as float32, N x D, each row of length 1, or 0 of an object that the network does not see."""
        return as_float32(self.raw, None if self.rounding is None else self.rounding.scale)


class Objects(list[DescribedObject]):
    """The objects of a picture, as they were given or in the order of the sam2 package's generator."""

    def __init__(
        self,
        objects: Iterable[DescribedObject],
        descriptors: tuple[ObjectVectors, ...],
        reply: objects_pb2.DescribeObjectsResponse | objects_pb2.FindObjectsResponse,
        timing: Timing | None,
    ) -> None:
        super().__init__(objects)
        self.descriptors = descriptors
        """Their vectors, one matrix for each descriptor of the question."""
        self.height, self.width = reply.height, reply.width
        """Of the picture as sent, in pixels."""
        self.model = reply.model
        """Key of the model that made the masks."""
        self.image_digest = reply.image_digest
        """Name of the picture: give it instead of the picture in further questions."""
        self.image_orientation = reply.image_orientation
        """How its file says that it is to be shown, as EXIF counts; 1 is upright."""
        self.label_map = _labels(reply)
        """H x W, where masks were asked for so: 0 is no object, else 1 + the index of the best one there."""
        self.timing = timing
        """What the answer has taken; None where the server does not say."""

    def __repr__(self) -> str:
        return listed(", ".join([self._title(), *map(repr, self.descriptors)]), self)

    def _title(self) -> str:
        return f"{type(self).__name__}: {len(self)} in {self.width} x {self.height}"

    @property
    def masks(self) -> NDArray[np.bool_]:
        """All masks, N x H x W; unpacked anew by every access."""
        if not self:
            return np.zeros((0, self.height, self.width), np.bool_)
        return np.stack([each.segmentation for each in self])

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Boxes around them as x0, y0, x1, y1, N x 4; the last two just outside."""
        corners = [
            (x, y, x + width + 1, y + height + 1) for x, y, width, height in (each.bbox for each in self)
        ]
        return np.array(corners, np.float64).reshape(-1, 4)

    def to_coco(self, image_id: int = 1, category_id: int = 1) -> list[dict[str, Any]]:  # Any: JSON
        """The objects as annotations of COCO's format, their masks as run lengths."""
        return [
            coco_annotation(each)
            | {
                "id": number,
                "image_id": image_id,
                "category_id": category_id,
                "level": each.level,
                "parent": each.parent,
                "granularity": each.granularity,
            }
            for number, each in enumerate(self, 1)
        ]

    def to_detections(self) -> sv.Detections:
        """The objects as supervision has them: boxes, masks, and the predicted quality as confidence.

        The first descriptor's vectors are `data["vectors"]`. Raises ImportError without the package supervision.
        """
        import supervision as sv

        data: dict[str, Any] = {"level": np.array([each.level for each in self])}
        if self.descriptors:
            data["vectors"] = self.descriptors[0].array
        return sv.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=np.array([each.predicted_iou for each in self], np.float32),
            data=data,
        )

    def to_table(self) -> pd.DataFrame:
        """A row for each object: area, box, scores, level, parent, granularity and the vectors of each descriptor.

        Raises ImportError without the package pandas.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "area": [each.area for each in self],
            **dict(zip(("x0", "y0", "x1", "y1"), self.boxes.T, strict=True)),
            "predicted_iou": [each.predicted_iou for each in self],
            "stability_score": [each.stability_score for each in self],
            "level": [each.level for each in self],
            "parent": pd.array([each.parent for each in self], dtype="Int64"),
            "granularity": [each.granularity for each in self],
        }
        for number, each in enumerate(self.descriptors):
            columns[f"vectors_{number}"] = list(each.array)
        return pd.DataFrame(columns)


def objects(reply: objects_pb2.DescribeObjectsResponse, beside: Beside) -> Objects:
    """The objects of an answer."""
    return Objects(_objects(reply), tuple(map(_vectors, reply.descriptors)), reply, beside.timing)


def _labels(
    reply: objects_pb2.DescribeObjectsResponse | objects_pb2.FindObjectsResponse,
) -> NDArray[np.uint16] | None:
    return label_map(reply.label_map) if reply.HasField("label_map") else None


def _objects(
    reply: objects_pb2.DescribeObjectsResponse | objects_pb2.FindObjectsResponse,
) -> Iterator[DescribedObject]:
    labels = _labels(reply)
    for number, each in enumerate(reply.objects, 1):
        mask = mask_of(each.mask, InSummary(number) if labels is None else Label(labels, number))
        parent = each.parent if each.HasField("parent") else None
        own = GRANULARITIES[each.granularity] if each.HasField("granularity") else None
        yield DescribedObject(**vars(mask), level=each.level, parent=parent, granularity=own)


def _vectors(own: objects_pb2.ObjectVectors) -> ObjectVectors:
    raw, rounding = sent(own, own.vectors)
    return ObjectVectors(raw, own.model, rounding)


@dataclass(frozen=True)
class ObjectMatch:
    """An object that fits."""

    object: int
    """Its index in the answer."""
    score: float
    """How well it fits: a cosine, or with negative texts a relevancy."""


class _Matches(NamedTuple):
    """What fits one text or vector, in a line."""

    query: int
    matches: tuple[ObjectMatch, ...]

    def __repr__(self) -> str:
        shown = [f"object {each.object} ({each.score:.4g})" for each in self.matches[:FEW]]
        if more := len(self.matches) - len(shown):
            shown.append(f"{more} more")
        return f"found[{self.query}]: {', '.join(shown) or 'nothing'}"


class FoundObjects(Objects):
    """The objects of a picture that fit anything that was looked for, each once."""

    def __init__(self, reply: objects_pb2.FindObjectsResponse, beside: Beside) -> None:
        super().__init__(_objects(reply), (), reply, beside.timing)
        self.found = tuple(
            tuple(ObjectMatch(each.object, each.score) for each in own.matches) for own in reply.found
        )
        """For each text or vector those that fit it, best first."""
        self.descriptor_models = tuple(reply.descriptor_models)
        """Keys of the models whose vectors they were compared by."""
        self.text_map = label_map(reply.text_map) if reply.HasField("text_map") else None
        """H x W, where it was asked for: 0 is nothing, else 1 + the index of the text."""

    def __repr__(self) -> str:
        return listed(self._title(), [_Matches(number, own) for number, own in enumerate(self.found)])

    def best(self, query: int = 0) -> DescribedObject | None:
        """The object that fits a text or vector best; None where none does."""
        return self[self.found[query][0].object] if self.found[query] else None
