"""Objects of one picture that are to be found again in others: described first, then looked for by their vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from featsvc.v1 import schema
from featsvc.work.objects import of_texts, ways_with_picture
from featsvc_client import calls
from featsvc_client.arguments import message_fields, with_first
from featsvc_client.calls import Call
from featsvc_client.errors import FieldViolation, invalid
from featsvc_client.object_results import FoundObjects, Objects
from featsvc_client.object_sources import PLANES, PROMPTS, VECTORS, numbers
from featsvc_client.pictures import ImageLike, picture
from featsvc_client.session import Session, Steps
from featsvc_client.terms import Terms
from featsvc_client.window import NO_PICTURE

FIELD = "exemplar"
BOX = next(name for name, field in schema.Prompt.model_fields.items() if "Box" in str(field.annotation))
CORNERS = 4
"""Numbers of a box."""
PIXELS = (1, 2)
"""Axes of the pixels of masks beside each other."""
Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Exemplar:
    """Objects of one picture to find again in others: give boxes, of which SAM2 makes masks, or masks."""

    image: ImageLike
    """The picture."""
    boxes: Sequence[Sequence[float]] | Sequence[float] = ()
    """A box around each, as x0, y0, x1, y1 in its pixels; the last two just outside. Or that of one."""
    masks: NDArray[np.generic] | None = None
    """The pixels of each, N x H x W of the picture, or H x W of one: what is above 0 is inside."""

    @property
    def source(self) -> dict[str, object]:
        """Where its objects come from, as options of `describe_objects`; raises InvalidRequest where they are none."""
        if self._planes is None:
            return {PROMPTS: [{BOX: each} for each in self._corners]}
        return {"bitmaps": self._planes}

    @property
    def names(self) -> tuple[str, ...]:
        """What errors call its objects; raises InvalidRequest where they are none."""
        several, kind = (self._corners, "boxes") if self._planes is None else (self._planes, "masks")
        return tuple(f"{FIELD}.{kind}[{index}]" for index in range(len(several)))

    @property
    def facts(self) -> dict[str, object]:
        """What tells it from others, as JSON; raises InvalidRequest where its objects are none."""
        planes = self._planes
        masks = None if planes is None else np.packbits(planes).tobytes()
        return {
            FIELD: picture(self.image).digest,
            f"{FIELD}_box": self._corners,
            f"{FIELD}_mask": None if masks is None else hashlib.sha256(masks).hexdigest(),
        }

    @cached_property
    def _corners(self) -> list[list[float]]:
        """The boxes, of which a single one may stand by itself."""
        given = [self.boxes] if len(self.boxes) and np.ndim(self.boxes[0]) == 0 else self.boxes
        return [_box(f"{FIELD}.boxes[{index}]", each) for index, each in enumerate(given)]

    @cached_property
    def _planes(self) -> NDArray[np.bool_] | None:
        """The masks, N x H x W."""
        if (len(self.boxes) > 0) == (self.masks is not None):
            raise invalid(FieldViolation(FIELD, "give boxes or masks of its objects: one of the two"))
        if self.masks is None:
            return None
        field = f"{FIELD}.masks"
        planes: NDArray[np.bool_] = np.greater(numbers(field, self.masks), 0)
        planes = planes[None] if planes.ndim == PLANES - 1 else planes
        if planes.ndim != PLANES or not planes.size:
            shape = " x ".join(map(str, np.shape(self.masks))) or "a single number"
            raise invalid(FieldViolation(field, f"must be masks, N x H x W, or one, H x W, not {shape}"))
        for index in np.flatnonzero(~planes.any(axis=PIXELS)):
            raise invalid(FieldViolation(f"{field}[{index}]", "has no pixel inside: leave it out"))
        return planes


def _box(name: str, given: object) -> list[float]:
    """The four numbers of a box."""
    corners = numbers(name, given).ravel().tolist()
    if len(corners) != CORNERS:
        raise invalid(FieldViolation(name, f"must be four numbers, x0, y0, x1, y1, not {len(corners)}"))
    return [float(each) for each in corners]


@dataclass(frozen=True, eq=False)
class Lookup:
    """What is asked about pictures where an exemplar is looked for, with its vectors once they are there."""

    exemplar: Exemplar
    options: dict[str, object]
    """How it is described and looked for."""

    @classmethod
    def of(cls, exemplar: Exemplar, texts: object, options: Mapping[str, object]) -> Lookup:
        """Checks all that can be known before anything is asked; raises InvalidRequest."""
        given = with_first(schema.ObjectQuery, texts, options)
        if beside := [name for name in schema.ObjectQuery.model_fields if _is_there(given.pop(name, None))]:
            raise invalid(FieldViolation(FIELD, f"give an exemplar or {beside[0]}: one of the two"))
        lookup = cls(exemplar, given)
        lookup.trial(NO_PICTURE)
        fields = {name: each for name, each in given.items() if name in schema.FindObjectsParams.model_fields}
        params = schema.FindObjectsParams.model_validate(message_fields(fields))
        for name in of_texts(params):
            raise invalid(FieldViolation(name, "is about texts: leave it out beside an exemplar"))
        for index in ways_with_picture(params):
            raise invalid(FieldViolation(FIELD, WITH_PICTURE.format(way=index)))
        return lookup

    def described(self) -> Call[Objects]:
        """The question for its vectors; raises InvalidRequest, or the OSError of a picture that cannot be read."""
        kept = schema.Image.model_fields.keys() | schema.DescribeObjectsParams.model_fields.keys()
        own = {name: value for name, value in self.options.items() if name in kept}
        return calls.describe_objects(self.exemplar.image, own | self.exemplar.source)

    def rows(self, objects: Objects) -> Rows:
        """Its objects as vectors, Q x the channels of all ways; raises InvalidRequest where one has none."""
        for way, each in enumerate(objects.descriptors):
            for index in np.flatnonzero(~each.array.any(axis=1)):
                message = f"has no part in what way {way} to describe sees: leave it out, or give another way"
                raise invalid(FieldViolation(self.exemplar.names[index], message))
        return np.concatenate([each.array for each in objects.descriptors], axis=1)

    def found(self, objects: Objects) -> Callable[[ImageLike], Call[FoundObjects]]:
        """The question about each picture; raises InvalidRequest where one of its objects has no vector."""
        return partial(calls.sought, None, self.options | as_query(self.rows(objects)))

    def trial(self, image: ImageLike) -> Call[FoundObjects]:
        """A question that is not asked: only its options are looked at."""
        return calls.find_objects(image, None, self.options | self.placeholder)

    @property
    def placeholder(self) -> dict[str, Rows]:
        """Stands among the options for what is looked for until its vectors are there."""
        return as_query(np.ones((len(self.exemplar.names), 1), np.float32))


WITH_PICTURE = (
    "way {way} to describe is with_picture, which mixes an object with its picture as all objects of the picture "
    'together say, and an exemplar has no others: give "with_picture": false in the crop of `describe`'
)


def as_query(rows: Rows) -> dict[str, Rows]:
    """Vectors as the options that look for them."""
    return dict.fromkeys(VECTORS, rows)


def _is_there(value: object) -> bool:
    return value is not None and np.size(np.asarray(value, object)) > 0


def found(session: Session, image: ImageLike, lookup: Lookup, terms: Terms) -> Steps[FoundObjects]:
    """The steps to the objects that are like an exemplar's, which is described first, in the time of one call."""
    if session.is_dry:
        raise invalid(FieldViolation(FIELD, "is described first: estimate with vectors in its place"))
    attempts = session.attempts(terms.timeout_s)
    objects = yield from session.answered(lookup.described, terms)
    ask = partial(lookup.found(objects), image)
    return (yield from session.answered(ask, replace(terms, timeout_s=attempts.time_left_s())))
