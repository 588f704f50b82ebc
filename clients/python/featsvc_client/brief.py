"""Answers in a line each, for terminals and notebooks: types and shapes in place of thousands of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from featsvc.v1 import image_pb2, tensor_pb2

FEW = 4
"""An array of so many elements is shown as it is."""
LONG = 40
"""Letters of a text that are shown."""
DTYPES = tensor_pb2.DType.DESCRIPTOR.values_by_number


class Brief:
    """A dataclass (`repr=False`) that is shown in a line, without what is absent."""

    def __repr__(self) -> str:
        shown_fields = [each for each in fields(self) if each.repr]  # type: ignore[arg-type]  # see above
        values = ((each.name, getattr(self, each.name)) for each in shown_fields)
        shown = (
            f"{name}={brief(value)}"
            for name, value in values
            if not (value is None or (isinstance(value, str) and not value))
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def brief(value: Any) -> str:  # Any: whatever an answer holds
    """The value in a few words."""
    match value:
        case np.ndarray() if 0 < value.size <= FEW:
            return np.array2string(value, precision=4, separator=", ").replace("\n", "")
        case np.ndarray():
            return _sized(str(value.dtype), value.shape)
        case tensor_pb2.Tensor():
            dtype = DTYPES[value.dtype].name if value.dtype in DTYPES else str(value.dtype)
            return _sized(dtype.removeprefix("D_TYPE_").lower(), value.shape)
        case image_pb2.Geometry():
            return f"Geometry({value.grid_height} x {value.grid_width} cells)"
        case float():
            return f"{value:.4g}"
        case str() if len(value) > LONG:
            return repr(value[:LONG] + "…")
        case bytes():
            return f"{len(value)} bytes"
        case tuple() if len(value) > FEW:
            return f"{len(value)} items"
        case tuple():
            return f"({', '.join(map(brief, value))})"
        case _:
            return repr(value)


def listed(title: str, values: Sequence[object], most: int = 3) -> str:
    """A title and the first few of many values, each on a line of its own."""
    lines = [repr(each) for each in values[:most]]
    if len(values) > most:
        lines.append(f"… {len(values) - most} more")
    return "\n  ".join([title, *lines])


def _sized(kind: str, shape: Sequence[int]) -> str:
    return f"{kind}[{', '.join(map(str, shape))}]"
