"""Tokens are open_clip's, without its work for what is cut off, and without its endless memory."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch

from featsvc.engines import clip_tokens
from featsvc.engines.clip_model import ClipModel
from featsvc.engines.clip_tokens import Tokenizer
from featsvc.engines.item import Item
from featsvc.errors import InvalidFields
from featsvc.v1.schema import ComputeSimilarityParams, EncodeTextParams, TextQuery, Texts
from tests.engines import models

TEXTS = (
    "",
    "a photo of a cat",
    "Ünïcode — déjà vu, 中文字符 と かな &amp;amp; &lt;b&gt; \N{ROCKET}",
    "it's 1234567890!!! ... we'll   see\n\ttabs",
    "red circle and blue star " * 100,
    "9" * 300,
    "<end_of_text> in the middle",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(77)


def test_tokens_are_those_of_open_clip(tokenizer: Tokenizer) -> None:
    assert torch.equal(tokenizer(list(TEXTS)), open_clip.get_tokenizer("ViT-B-16")(list(TEXTS)))


def test_tokens_of_plain_text_are_those_of_open_clip(tokenizer: Tokenizer) -> None:
    signs = [chr(code) for code in range(128)]
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(signs, rng.integers(1, 60))) for _ in range(2000)]
    # Without control characters and entities, which take the long way.
    texts += ["".join(rng.choice(signs[32:38] + signs[39:127], rng.integers(1, 60))) for _ in range(2000)]
    texts += [f"{sign}s {sign}{sign} don{sign}t &{sign}lt; A{sign}B  9{sign}" for sign in signs]
    assert torch.equal(tokenizer(texts), open_clip.get_tokenizer("ViT-B-16")(texts))
    # And again, from what was kept.
    assert torch.equal(tokenizer(texts), open_clip.get_tokenizer("ViT-B-16")(texts))


def test_words_behind_the_context_cost_nothing(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    merge = tokenizer.bpe
    monkeypatch.setattr(tokenizer, "bpe", lambda word: asked.append(word) or merge(word))
    tokenizer([" ".join(f"word{number}" for number in range(500))])
    assert 0 < len(asked) <= 77


def test_words_are_forgotten_before_there_are_too_many(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_tokens, "MOST_WORDS", 50)
    first = tokenizer(["start abc"])
    for number in range(200):
        tokenizer([f"unheard{chr(97 + number % 26)}{chr(97 + number // 26)}"])
        assert len(tokenizer.known) <= 50
        assert len(tokenizer.cache) <= 2
    assert torch.equal(tokenizer(["start abc"]), first)


@pytest.mark.parametrize("word", ["x" * 129, "ß" * 129, "-" * 129, "_" * 129, "字" * 129])
def test_a_word_without_end_is_refused_by_name(demo_clip: ClipModel, word: str) -> None:
    engines = models.engines()
    with pytest.raises(InvalidFields) as caught:
        engines.prepare(
            "clip.encode_text", Item(texts=Texts(text=("fine", f"a {word} b"))), EncodeTextParams(), demo_clip
        )
    (violation,) = caught.value.violations
    assert violation.field == "texts.text[1]"
    assert violation.message.startswith("a word of 129 letters")
    query = TextQuery(text=("fine",), negative_text=(word,))
    item = models.item_of(models.picture(32, 32), texts=query)
    with pytest.raises(InvalidFields) as caught:
        engines.prepare("clip.compute_similarity", item, ComputeSimilarityParams(load_size=-1), demo_clip)
    (violation,) = caught.value.violations
    assert violation.field == "query.negative_text[0]"


def test_a_long_word_within_the_limit_is_taken(demo_clip: ClipModel) -> None:
    texts = Texts(text=("x" * 128 + " " + "y" * 128, "1" * 4000))
    models.engines().prepare("clip.encode_text", Item(texts=texts), EncodeTextParams(), demo_clip)
