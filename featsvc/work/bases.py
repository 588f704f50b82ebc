"""Bases of principal components that many pictures have in common: how one is asked for, and how it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Options = Mapping[str, object]
"""Parameters of features, by their names."""

OWN = ("pca_basis", "pca_digests")
"""Options that say themselves in which basis pictures are shown."""


def fitting(options: Options, digests: Sequence[str]) -> dict[str, object]:
    """The options of a question that fits a basis over its picture and those of these digests, and names it."""
    return {**options, "pca_digests": list(digests), "ret_pca_basis": True}


def shown_in(options: Options, basis: str) -> dict[str, object]:
    """The options of a question that shows its picture in a basis: that says itself whether it is of the foreground."""
    return {name: value for name, value in options.items() if name != "pca_foreground"} | {"pca_basis": basis}
