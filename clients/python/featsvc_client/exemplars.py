"""Objects of one picture that are to be found again in others: described first, then looked for by their vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from featsvc.v1 import schema
from featsvc_client import calls
from featsvc_client.errors import FieldViolation, invalid
from featsvc_client.object_results import Objects
from featsvc_client.object_sources import PROMPTS, VECTORS
from featsvc_client.pictures import ImageLike, picture
from featsvc_client.session import Session, Steps
from featsvc_client.terms import Terms

FIELD = "exemplar"
BOX = next(name for name, field in schema.Prompt.model_fields.items() if "Box" in str(field.annotation))
PLANES = 3
"""Axes of several masks."""


@dataclass(frozen=True, eq=False)
class Exemplar:
    """Objects of one picture to find again in others: give boxes, of which SAM2 makes masks, or masks."""

    image: ImageLike
    """The picture."""
    boxes: Sequence[Sequence[float]] = ()
    """A box around each, as x0, y0, x1, y1 in its pixels; the last two just outside."""
    masks: NDArray[np.generic] | None = None
    """The pixels of each, N x H x W of the picture, or H x W of one: what is above 0 is inside."""

    @property
    def source(self) -> dict[str, object]:
        """Where its objects come from, as options of `describe_objects`; raises InvalidRequest without one."""
        if (len(self.boxes) > 0) == (self.masks is not None):
            raise invalid(FieldViolation(FIELD, "give boxes or masks of its objects: one of the two"))
        if self.masks is None:
            return {PROMPTS: [{BOX: list(each)} for each in self.boxes]}
        return {"bitmaps": self.masks if np.ndim(self.masks) >= PLANES else np.asarray(self.masks)[None]}

    @property
    def facts(self) -> dict[str, object]:
        """What tells it from others, as JSON."""
        masks = None if self.masks is None else np.packbits(np.greater(self.masks, 0)).tobytes()
        return {
            FIELD: picture(self.image).digest,
            f"{FIELD}_box": [list(map(float, each)) for each in self.boxes],
            f"{FIELD}_mask": None if masks is None else hashlib.sha256(masks).hexdigest(),
        }


def described(
    session: Session, exemplar: Exemplar, options: Mapping[str, object], terms: Terms
) -> Steps[Objects]:
    """The steps to its objects, described by the options with which they are looked for; raises InvalidRequest."""
    if VECTORS & options.keys():
        raise invalid(FieldViolation(FIELD, "give an exemplar or vectors: one of the two"))
    if session.is_dry:
        raise invalid(FieldViolation(FIELD, "is described first: estimate with vectors in its place"))
    kept = schema.Image.model_fields.keys() | schema.DescribeObjectsParams.model_fields.keys()
    own = {name: value for name, value in options.items() if name in kept}
    return session.answered(partial(calls.describe_objects, exemplar.image, own | exemplar.source), terms)


def as_query(objects: Objects) -> dict[str, NDArray[np.float32]]:
    """The objects as what is looked for: Q x the channels of all ways side by side."""
    rows = np.concatenate([each.array for each in objects.descriptors], axis=1)
    return dict.fromkeys(VECTORS, rows)
