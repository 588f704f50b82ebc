"""Entries of a file of keys whose keys are the names, and the headers of who has them."""

from __future__ import annotations

from featsvc.server.keys.key_file import hash_of


def entries(**more: str) -> str:
    """The text of a file: for each name its key, and further lines of its entry."""
    return "\n".join(
        f'[keys.{name}]\nsha256 = "{hash_of(name).hex()}"\n{lines}' for name, lines in more.items()
    )


def bearer(name: str) -> tuple[tuple[str, str], ...]:
    """The header of who has the key."""
    return (("authorization", f"Bearer {name}"),)
