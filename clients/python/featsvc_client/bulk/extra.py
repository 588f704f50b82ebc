"""What is said where a library of the extra `bulk` is missing."""

from __future__ import annotations


class Refused(Exception):
    """The command cannot begin or go on; the message says what to do."""


def missing(library: str, purpose: str) -> Refused:
    """The error for a library that is not installed."""
    return Refused(f"{purpose} need {library}: pip install './clients/python[bulk]' at the top of a clone")
