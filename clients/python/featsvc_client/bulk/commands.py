"""The commands: which rpc each asks, what it keeps of the answers, and how that is shown to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic import BaseModel

from featsvc.twin.methods import twin_of
from featsvc.v1 import schema
from featsvc.work import bases
from featsvc_client import calls, operations, pictures
from featsvc_client.arguments import channels_first, first_field, message_fields
from featsvc_client.bulk import outcomes, preview
from featsvc_client.bulk.basis import OPTION, Sample
from featsvc_client.bulk.outcomes import Outcome
from featsvc_client.calls import Call
from featsvc_client.errors import FieldViolation, invalid
from featsvc_client.exemplars import Exemplar, Lookup, Rows, as_query
from featsvc_client.object_sources import VECTORS, object_query
from featsvc_client.operations import Rpc
from featsvc_client.window import NO_PICTURE

PICTURE = "image"
COCO = "coco"
ANYTHING = "object"
ARRAY_FORMATS = ("npy", "npz", "safetensors", "zarr", "parquet")


@dataclass(frozen=True)
class Command:
    """What can be asked about each picture."""

    name: str
    """The words as they are typed."""
    help: str
    # Any: the answers of the operations have no class in common.
    operation: Rpc[Any]
    outcome: Callable[[Any], Outcome]
    preview: preview.Drawing | None = None
    formats: tuple[str, ...] = ARRAY_FORMATS
    coco: Callable[[Any], Outcome] | None = None
    """The outcome where its annotations are all that is kept."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words, one by one."""
        return tuple(self.name.split())

    @property
    def parts(self) -> Mapping[str, type[BaseModel]]:
        """The messages of the request beside the picture: their fields are the options.

        Without those that may be left out: they are of one picture, such as masks that the caller has.
        """
        fields = request_class(self.operation).model_fields
        # Any: an annotation.
        found: dict[str, Any] = {
            name: each.annotation
            for name, each in fields.items()
            if name != PICTURE and isinstance(each.annotation, type)
        }
        return found

    @property
    def has_components(self) -> bool:
        """Whether its answers may be principal components."""
        return any(issubclass(part, schema.FeatureParams) for part in self.parts.values())


@dataclass(frozen=True)
class Question:
    """A command with its options, to be asked about every picture."""

    command: Command
    parts: Mapping[str, Mapping[str, object]]
    coco_only: bool = False
    look: preview.Look | None = None
    """How pictures for people look, where they are wanted."""
    exemplar: Exemplar | None = None
    """The objects of another picture whose vectors are looked for."""
    lookup: Lookup | None = None
    """What is to be asked about them before, while their vectors are not there."""
    sample: Sample | None = None
    """The pictures over which a basis is to be fitted, in which all are shown."""

    def call(self, content: bytes) -> Call[Any]:  # Any: see Command
        """The question about one picture; raises InvalidRequest where the options are wrong."""
        return calls.checked(self.command.operation, self.parts, pictures.picture(content))

    def kept(self, content: bytes, answer: Any) -> tuple[Outcome, bytes | None]:  # Any: see Command
        """What is kept of an answer, and the picture of it for people."""
        coco = self.command.coco
        outcome = coco(answer) if coco and self.coco_only else self.command.outcome(answer)
        draw = self.command.preview
        drawn = None if draw is None or self.look is None else draw(answer, content, self.look)
        return outcome, None if drawn is None else preview.png(drawn)

    def completed(self, vectors: Rows) -> Question:
        """The same with the vectors of the exemplar's objects."""
        query = object_query(as_query(vectors))
        parts = {
            name: query if part is schema.ObjectQuery else self.parts[name]
            for name, part in self.command.parts.items()
        }
        return replace(self, parts=parts, lookup=None)

    def fitting(self, digests: Sequence[str]) -> Question:
        """The question that fits a basis over its picture and those of these digests."""
        return self._with_features(lambda own: bases.fitting(own, digests))

    def shown_in(self, basis: str) -> Question:
        """The same about pictures in a basis that is there."""
        return replace(self._with_features(lambda own: bases.shown_in(own, basis)), sample=None)

    def _with_features(self, changed: Callable[[Mapping[str, object]], Mapping[str, object]]) -> Question:
        parts = {
            name: changed(self.parts[name]) if issubclass(part, schema.FeatureParams) else self.parts[name]
            for name, part in self.command.parts.items()
        }
        return replace(self, parts=parts)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that are asked for, in their order."""
        for name, part in self.command.parts.items():
            if part in (schema.TextQuery, schema.ObjectQuery):
                texts = self.parts[name].get(first_field(part), ())
                return (texts,) if isinstance(texts, str) else tuple(map(str, cast("list[str]", texts)))
        return ()

    @property
    def categories(self) -> tuple[str, ...]:
        """What COCO's annotations are of, in the order of their numbers."""
        for name, part in self.command.parts.items():
            if part is schema.ObjectQuery:
                (vectors,) = (self.parts[name].get(each) for each in VECTORS)
                count = vectors["shape"][0] if isinstance(vectors, dict) else 0
                word = "vector" if self.exemplar is None else "exemplar"
                return self.texts or tuple(f"{word} {number}" for number in range(1, count + 1))
        return (ANYTHING,)

    @property
    def is_scaled(self) -> bool:
        """Whether the answers are integers that need the factors which come with them."""
        return schema.FeatureDType.INT8 in self._flat().values()

    def description(self) -> dict[str, Any]:  # Any: JSON
        """All parameters, also those left to their defaults, but for the model: of that the server has its own.

        In place of an exemplar's vectors, whose last bits may be others the next time, it stands itself.
        """
        self.call(NO_PICTURE)
        described: dict[str, Any] = {} if self.exemplar is None else {"exemplar": self.exemplar.facts}
        described |= {} if self.sample is None else {"sample": self.sample.facts}
        hidden = frozenset() if self.exemplar is None else VECTORS
        for name, part in self.command.parts.items():
            given = part.model_validate(self.parts.get(name, {}))
            left = _fields_of(part, str, str | None) - given.model_fields_set
            described[name] = given.model_dump(mode="json", exclude=set(left | hidden))
        return described

    def _flat(self) -> dict[str, object]:
        return {name: value for part in self.parts.values() for name, value in part.items()}


def question(
    command: Command,
    options: Mapping[str, object],
    form: str,
    draws: bool = False,
    exemplar: Exemplar | None = None,
    sample: Sample | None = None,
) -> Question:
    """The question with options by their names; raises InvalidRequest where an exemplar cannot be looked for so, or no
    basis fitted."""
    lookup = None if exemplar is None else Lookup.of(exemplar, None, options)
    given = dict(options) if lookup is None else lookup.options | lookup.placeholder
    if (
        any(ENCODINGS & part.model_fields.keys() for part in command.parts.values())
        and not HOW_WRITTEN & given.keys()
    ):
        # Run lengths are by far the smallest way to send masks, and what COCO's format holds.
        given |= dict.fromkeys(ENCODINGS, schema.MaskEncoding.COCO_RLE.value)
    parts = {
        name: FIELDS.get(part, message_fields)(
            {key: value for key, value in given.items() if key in part.model_fields}
        )
        for name, part in command.parts.items()
    }
    asked = Question(command, parts, form == COCO, exemplar=exemplar, lookup=lookup, sample=sample)
    if sample is not None:
        for name in bases.OWN:
            if name in given:
                raise invalid(
                    FieldViolation(name, f"says itself in which basis pictures are shown: leave out {OPTION}")
                )
        asked.fitting(unknown_digests(sample.size - 1)).call(NO_PICTURE)
    return replace(asked, look=preview.Look(channels_first(given), asked.texts)) if draws else asked


def unknown_digests(count: int) -> list[str]:
    """So many that are of no picture."""
    return [f"sha256:{number:064x}" for number in range(count)]


def request_class(operation: Rpc[Any]) -> type[BaseModel]:
    """The generated class of an operation's request."""
    return twin_of(operation.request.DESCRIPTOR)


def _fields_of(part: type[BaseModel], *kinds: object) -> frozenset[str]:
    return frozenset(name for name, field in part.model_fields.items() if field.annotation in kinds)


ENCODINGS = _fields_of(schema.GenerateMasksParams, schema.MaskEncoding)
FIELDS: Mapping[type[BaseModel], Callable[[Mapping[str, object]], dict[str, object]]] = {
    schema.ObjectQuery: object_query
}
"""What brings options to the fields of a message where `message_fields` does not."""
HOW_WRITTEN = ENCODINGS | _fields_of(schema.GenerateMasksParams, schema.OutputMode)
COMMANDS = (
    Command(
        "extract clip",
        "dense CLIP features of each picture",
        operations.CLIP_FEATURES,
        outcomes.features,
        preview.features,
    ),
    Command(
        "extract dino",
        "dense DINO features of each picture",
        operations.DINO_FEATURES,
        outcomes.features,
        preview.features,
    ),
    Command(
        "masks auto",
        "SAM2 masks of everything in each picture",
        operations.GENERATE_MASKS,
        outcomes.masks,
        preview.masks,
        (COCO, *ARRAY_FORMATS),
        outcomes.coco_masks,
    ),
    Command(
        "similarity",
        "how well each place of each picture fits texts",
        operations.SIMILARITY,
        outcomes.similarity,
        preview.similarity,
    ),
    Command("embed", "the CLIP embedding of each whole picture", operations.ENCODE_IMAGE, outcomes.embedding),
    Command(
        "pyramid",
        "CLIP embeddings of tiles of each picture in several sizes, or what they make at points",
        operations.EMBED_PYRAMID,
        outcomes.pyramid,
    ),
    Command(
        "objects describe",
        "masks of everything in each picture, with vectors that describe them",
        operations.DESCRIBE_OBJECTS,
        outcomes.objects,
        preview.masks,
        # The first has a place for all of an answer.
        tuple(sorted(ARRAY_FORMATS, key="npz".__ne__)),
    ),
    Command(
        "objects find",
        "the objects of each picture that texts name, or that are like vectors of others",
        operations.FIND_OBJECTS,
        outcomes.found_objects,
        preview.found_objects,
        (COCO, *(each for each in ARRAY_FORMATS if each != "npy")),
        outcomes.coco_found_objects,
    ),
)
