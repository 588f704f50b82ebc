"""What a request asks about, beside its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.v1.schema import Prompt, TextQuery, Texts


@dataclass(frozen=True)
class Item:
    """A picture as it came, texts, prompts: whichever the operation takes."""

    image: bytes = b""
    texts: Texts | TextQuery | None = None
    prompts: tuple[Prompt, ...] = ()
