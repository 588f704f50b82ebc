"""The sentences that texts are put into before they are embedded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

from featsvc.engines.running.steps import step
from featsvc.errors import invalid_field
from featsvc.v1.schema import TemplateSet, TextParams
from featsvc.work.options import EngineOptions

MOST_LETTERS = 1 << 22
"""Letters of all sentences of one request: some 250 in each of as many sentences as there may be."""
Templates = tuple[str, ...]
PLACE = "{}"
"""What a text takes the place of."""
SETS: Mapping[TemplateSet, Templates] = {
    TemplateSet.IMAGENET: tuple(each(PLACE) for each in OPENAI_IMAGENET_TEMPLATES),
    TemplateSet.SIMPLE: tuple(each(PLACE) for each in SIMPLE_IMAGENET_TEMPLATES),
}


def templates_of(params: TextParams) -> Templates:
    """Those that a request asks for; none where texts are embedded as they are."""
    if params.template_set is not None:
        return SETS[params.template_set]
    for index, each in enumerate(params.templates):
        if PLACE not in each:
            raise invalid_field(f"params.templates[{index}]", f"lacks {PLACE}, the place of the text")
    return params.templates


def sentences(text: str, templates: Templates) -> list[str]:
    """The text in all of them, or by itself where there are none."""
    return [each.replace(PLACE, text) for each in templates] if templates else [text]


def sentences_of(texts: Iterable[str], templates: Templates) -> Iterator[str]:
    """Those of several texts, one after the other, each made when it is asked for."""
    for text in texts:
        step()
        yield from sentences(text, templates)


def check_sentences(texts: Mapping[str, Sequence[str]], templates: Templates, options: EngineOptions) -> None:
    """Refuses texts, by their fields, that make too many sentences, or too long ones, before any is made."""
    count = sum(map(len, texts.values())) * len(templates)
    if count > options.max_sentences:
        message = (
            f"in {len(templates)} templates they make {count} sentences, at most {options.max_sentences}"
        )
        raise invalid_field(next(iter(texts)), f"{message} (--max-sentences): send fewer texts at once")
    places = sum(each.count(PLACE) for each in templates)
    own = sum(map(len, templates)) - places * len(PLACE)
    letters = sum(own + places * len(text) for several in texts.values() for text in several)
    if letters > MOST_LETTERS:
        message = f"in {len(templates)} templates they make sentences of {letters} letters together"
        raise invalid_field(
            next(iter(texts)), f"{message}, at most {MOST_LETTERS}: send fewer or shorter texts"
        )


def put_into(texts: Mapping[str, Iterable[str]], templates: Templates) -> dict[str, Iterator[str]]:
    """All sentences of each text as one, made when it is asked for, by the field of the texts."""
    return {field: _joined(some, templates) for field, some in texts.items()}


def _joined(texts: Iterable[str], templates: Templates) -> Iterator[str]:
    for text in texts:
        step()
        yield " ".join(sentences(text, templates))
