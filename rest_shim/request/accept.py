"""What form of reply a caller asks for by its Accept header (RFC 9110, 12.5.1), kindly read."""

from __future__ import annotations

import re
from enum import StrEnum

from rest_shim.errors import HttpError

WEIGHT = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


class Form(StrEnum):
    """A media type that replies have."""

    JSON = "application/json"
    OCTETS = "application/octet-stream"
    NPY = "application/x-npy"


RAW = (Form.OCTETS, Form.NPY)


def accepted(header: str | None, *, raw: bool) -> Form:
    """The form to answer in: JSON unless a raw one is named and liked better; raises 406 where that is not to be had.

    A wildcard never asks for bytes, and who asks for what is not there at all gets JSON, as old clients always did.
    """
    if header is None or not any(form in header.lower() for form in RAW):
        return Form.JSON
    weights = _weights(header)
    best = max(RAW, key=lambda form: weights.get(form, 0.0))
    # A wildcard is no wish: it only says that JSON would do.
    if weights.get(best, 0.0) <= weights.get(Form.JSON, 0.0):
        return Form.JSON
    if raw:
        return best
    if any(weights.get(each, 0.0) > 0 for each in (Form.JSON, "application/*", "*/*")):
        return Form.JSON
    raise HttpError(406, f"this path answers {Form.JSON} only: its replies hold more than one tensor")


def _weights(header: str) -> dict[str, float]:
    """Media range to the weight it is given."""
    found: dict[str, float] = {}
    for each in header.lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        given = [match[1] for match in map(WEIGHT.fullmatch, parameters) if match]
        found[name] = float(given[0]) if given else 1.0
    return found
