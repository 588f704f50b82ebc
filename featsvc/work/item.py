"""What a request asks about, beside its parameters. Fields are called as in the request."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Self

from featsvc.v1.schema import ObjectQuery, ObjectSource, Orientation, Prompt, TextQuery, Texts


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
    """In chunks or one by one, so that only `max_chunked_bytes` limits it."""
    json: Json | None = None
    """What holds for a reply that ends as JSON."""


IN_ONE_PIECE = Way()


@dataclass(frozen=True)
class Item:
    """What every request has."""

    way: Way = field(default=IN_ONE_PIECE, kw_only=True)
    """How the answer goes."""

    @property
    def nbytes(self) -> int:
        """What it holds in memory, but for some overhead."""
        return 0

    @property
    def question(self) -> Hashable:
        """Equal for items that ask the same, whichever way the answer goes; None where that cannot be told."""
        return _question(self)


@dataclass(frozen=True)
class TextItem(Item):
    """Texts."""

    texts: Texts

    @property
    def nbytes(self) -> int:
        """Letters of all texts."""
        return sum(map(len, self.texts.text))


@dataclass(frozen=True)
class PictureItem(Item):
    """A picture."""

    image: bytes = b""
    """The file as it came; empty where its name is enough."""
    digest: str = ""
    """Name of the picture's content, "sha256:…"; empty where nobody knows it, and then nothing is kept of it."""
    orientation: Orientation = Orientation.STORED
    """Which way up the picture is taken."""

    def without_image(self) -> Self:
        """The same with the name of its picture alone."""
        return replace(self, image=b"")

    @property
    def nbytes(self) -> int:
        """The file."""
        return len(self.image)

    @property
    def question(self) -> Hashable:
        """As of every item; by the name of the picture."""
        return _question(self) if self.digest else None


@dataclass(frozen=True)
class FeaturesItem(PictureItem):
    """A picture, and those that its principal components are taken of beside it."""

    together: tuple[PictureItem, ...] = field(default=(), kw_only=True, compare=False)
    """Each of them once. The parameters have their names."""

    @property
    def nbytes(self) -> int:
        """The files of all."""
        return len(self.image) + sum(len(each.image) for each in self.together)


@dataclass(frozen=True)
class QueryItem(PictureItem):
    """A picture, and texts to look for in it."""

    query: TextQuery = field(kw_only=True)

    @property
    def nbytes(self) -> int:
        """The file, and the letters of all texts."""
        return len(self.image) + sum(map(len, (*self.query.text, *self.query.negative_text)))


@dataclass(frozen=True)
class PromptItem(PictureItem):
    """A picture, and prompts about it."""

    prompts: tuple[Prompt, ...] = field(default=(), kw_only=True)

    @property
    def nbytes(self) -> int:
        """The file, and the masks and points of all prompts."""
        masks = (prompt.mask_input for prompt in self.prompts)
        points = sum(16 * len(prompt.point_coords) for prompt in self.prompts)
        return len(self.image) + sum(len(mask.data) for mask in masks if mask) + points


@dataclass(frozen=True)
class ObjectItem(PictureItem):
    """A picture, and where its objects come from."""

    source: ObjectSource | None = field(default=None, kw_only=True)

    @property
    def nbytes(self) -> int:
        """The file, and all masks that were given."""
        source = self.source or ObjectSource()
        tensors = (source.bitmaps, source.label_map, *(each.mask_input for each in source.prompts))
        given = sum(len(each.data) for each in tensors if each is not None)
        runs = sum(
            len(each.coco or "") + 8 * len(each.lengths.counts if each.lengths else ()) for each in source.rle
        )
        return len(self.image) + given + runs + sum(map(len, source.png))


@dataclass(frozen=True)
class FindItem(ObjectItem):
    """A picture, where its objects come from, and what is looked for."""

    query: ObjectQuery = field(kw_only=True)

    @property
    def nbytes(self) -> int:
        """The same, with the letters of all texts and the vectors."""
        vectors = self.query.vectors
        letters = sum(map(len, (*self.query.text, *self.query.negative_text)))
        return super().nbytes + letters + (0 if vectors is None else len(vectors.data))


def pictures_of(item: Item) -> tuple[PictureItem, ...]:
    """All pictures that an item holds, its own first."""
    if isinstance(item, FeaturesItem):
        return (item, *item.together)
    return (item,) if isinstance(item, PictureItem) else ()


@cache
def beside_picture(kind: type[Item]) -> tuple[str, ...]:
    """What a class of items holds beside pictures."""
    common = {field.name for field in fields(FeaturesItem)}
    return tuple(field.name for field in fields(kind) if field.name not in common)


def _question(item: Item) -> Hashable:
    kind: Any = type(item)  # Any: mypy takes no dataclass for hashable
    return (kind, *(getattr(item, name) for name in _asked(kind)))


@cache
def _asked(kind: type[Item]) -> tuple[str, ...]:
    """What tells questions apart: a picture has its name for that."""
    return tuple(each.name for each in fields(kind) if each.compare and each.name not in ("way", "image"))
