"""Texts in templates: the mean of all sentences, as CLIP's zero-shot classifiers have it."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from featsvc.engines.clip import text as clip_text
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields
from featsvc.v1.schema import ComputeSimilarityParams, EncodeTextParams, TextQuery, Texts
from featsvc.work.item import QueryItem, TextItem
from featsvc.work.operations import COMPUTE_SIMILARITY, ENCODE_TEXT
from featsvc.work.results import Floats
from tests.engines import models

TEXTS = ("red circle", "blue star")
OWN = ("a photo of a {}.", "{}, and another {}")


def embeddings(
    engines: Engines, model: ClipModel, texts: tuple[str, ...] = TEXTS, **options: object
) -> Floats:
    params, item = EncodeTextParams(**options), TextItem(Texts(text=texts))
    return models.vectors(models.answer(engines, ENCODE_TEXT.rpc, item, params, model))


def mean_of(model: ClipModel, sentences: list[str]) -> np.ndarray:
    """As `open_clip.build_zero_shot_classifier` computes it."""
    every = F.normalize(models.plain_clip().encode_text(model.tokenizer(sentences)), dim=-1)
    return F.normalize(every.mean(dim=0), dim=-1).numpy()


def test_a_text_has_the_mean_of_its_sentences(engines: Engines, vit_b16: ClipModel) -> None:
    got = embeddings(engines, vit_b16, templates=OWN)
    wanted = [mean_of(vit_b16, [each.replace("{}", text) for each in OWN]) for text in TEXTS]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["imagenet", "simple"])
def test_named_templates_are_those_of_the_zero_shot_classifiers(
    engines: Engines, demo_clip: ClipModel, name: str
) -> None:
    templates = getattr(
        open_clip, {"imagenet": "OPENAI_IMAGENET_TEMPLATES", "simple": "SIMPLE_IMAGENET_TEMPLATES"}[name]
    )
    assert len(templates) == {"imagenet": 80, "simple": 7}[name]
    every = embeddings(engines, demo_clip, tuple(each("red circle") for each in templates))
    mean = torch.from_numpy(every).mean(dim=0)
    got = embeddings(engines, demo_clip, ("red circle",), template_set=name)
    np.testing.assert_allclose(got[0], F.normalize(mean, dim=0).numpy(), atol=1e-6)


def test_templates_that_read_the_same_one_after_the_other_are_kept_apart(demo_clip: ClipModel) -> None:
    engines = models.engines()
    for templates in (("a {}", "b {}"), ("a {}b {}",), ("a {}b", " {}")):
        embeddings(engines, demo_clip, TEXTS[:1], templates=templates)
    texts = next(each for each in engines.caches() if each.name == "clip_texts")
    assert (texts.hits, texts.entries) == (0, 3)


def test_all_texts_of_a_query_are_put_into_them(engines: Engines, demo_clip: ClipModel) -> None:
    def found(text: str, against: str, **options: object) -> Floats:
        query = TextQuery(text=(text,), negative_text=(against,))
        item = QueryItem(models.picture_item(64, 48).image, query=query)
        params = ComputeSimilarityParams(load_size=-1, **options)
        return models.answer(engines, COMPUTE_SIMILARITY.rpc, item, params, demo_clip).similarity_map

    got = found(*TEXTS, templates=OWN[:1])
    wanted = found(*(OWN[0].replace("{}", each) for each in TEXTS))
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert np.abs(got - found(*TEXTS)).max() > 1e-4


def test_what_is_kept_of_a_text_is_kept_by_its_templates(
    demo_clip: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, seen = models.engines(), []
    forward = clip_text.text_features

    def counted(network: object, tokens: torch.Tensor) -> torch.Tensor:
        seen.append(len(tokens))
        return forward(network, tokens)

    monkeypatch.setattr(clip_text, "text_features", counted)
    cold = embeddings(engines, demo_clip, templates=OWN)
    assert sum(seen) == 4
    warm = embeddings(engines, demo_clip, templates=OWN)
    assert sum(seen) == 4
    assert cold.tobytes() == warm.tobytes()
    assert np.abs(embeddings(engines, demo_clip) - cold).max() > 1e-3
    assert np.abs(embeddings(engines, demo_clip, templates=OWN[::-1]) - cold).max() < 1e-6


@pytest.mark.parametrize(
    ("limits", "options", "field", "told"),
    [
        ({}, {"templates": ("a {}", "a photo")}, "params.templates[1]", "lacks {}"),
        ({"max_sentences": 159}, {"template_set": "imagenet"}, "texts.text", "160 sentences, at most 159"),
        (
            {"max_sentences": 1 << 20},
            {"templates": tuple("{}" * 126 + str(number) for number in range(256))},
            "texts.text",
            "letters together, at most 4194304",
        ),
        ({"max_tflop": 0.001}, {"template_set": "imagenet"}, "texts.text", "--max-tflop"),
        ({"max_word_letters": 200}, {"templates": ("x" * 150 + "{}", "{}")}, r"texts.text[1]", "at most 200"),
    ],
)
def test_templates_that_do_not_fit_are_refused(
    demo_clip: ClipModel, limits: dict[str, int], options: dict[str, object], field: str, told: str
) -> None:
    texts = TEXTS if "letters" not in told else ("ab " * 1360,)
    with pytest.raises(InvalidFields, match=told) as caught:
        embeddings(models.engines(**limits), demo_clip, texts, **options)
    assert [each.field for each in caught.value.violations] == [field]
