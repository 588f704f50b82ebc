"""What a request asks about, beside its parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from featsvc.v1.schema import Orientation, Prompt, TextQuery, Texts


@dataclass(frozen=True)
class Json:
    """The arrays of an answer end as base64 in JSON."""

    max_bytes: int
    """Before base64."""
    float_masks: bool = False
    """Masks become float32 there, though they travel as bits."""


@dataclass(frozen=True)
class Way:
    """How an answer goes to its caller."""

    chunked: bool = False
    """In parts, so that only `max_chunked_bytes` limits it."""
    json: Json | None = None


@dataclass(frozen=True)
class Item:
    """A picture as it came, texts, prompts: whichever the operation takes."""

    image: bytes = b""
    texts: Texts | TextQuery | None = None
    prompts: tuple[Prompt, ...] = ()
    digest: str = ""
    """Name of the picture's content, "sha256:…"; empty where nobody knows it, and then nothing is kept of it."""
    chunked: bool = False
    """The reply goes in parts, so only `max_chunked_bytes` limits it."""
    json: Json | None = None
    """What holds for a reply that ends as JSON."""
    orientation: Orientation = Orientation.STORED
    """Which way up the picture is taken."""

    def without_image(self) -> Item:
        """The same with the name of its picture alone."""
        return replace(self, image=b"")

    @property
    def way(self) -> Way:
        """How the answer goes."""
        return Way(self.chunked, self.json)

    @property
    def nbytes(self) -> int:
        """What it holds in memory, but for some overhead."""
        masks = (prompt.mask_input for prompt in self.prompts)
        negative = self.texts.negative_text if isinstance(self.texts, TextQuery) else ()
        texts = (*self.texts.text, *negative) if self.texts else ()
        points = sum(16 * len(prompt.point_coords) for prompt in self.prompts)
        return len(self.image) + sum(len(mask.data) for mask in masks if mask) + sum(map(len, texts)) + points
