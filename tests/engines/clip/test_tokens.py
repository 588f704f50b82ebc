"""Tokens are open_clip's, without its work for what is cut off, and without its endless memory."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch

from featsvc.engines.clip import tokens as clip_tokens
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.tokens import Tokenizer
from featsvc.errors import InvalidFields
from featsvc.v1.schema import ComputeSimilarityParams, EncodeTextParams, TextQuery, Texts
from featsvc.work.item import QueryItem, TextItem
from featsvc.work.operations import COMPUTE_SIMILARITY, ENCODE_TEXT
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
    merge = clip_tokens.merged
    monkeypatch.setattr(clip_tokens, "merged", lambda word, ranks: asked.append(word) or merge(word, ranks))
    tokenizer([" ".join(f"word{number}" for number in range(500))])
    assert 0 < len(asked) <= 77


def test_words_are_forgotten_before_there_are_too_many(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_tokens, "MOST_WORDS", 50)
    first = tokenizer(["start abc"])
    for number in range(200):
        tokenizer([f"unheard{chr(97 + number % 26)}{chr(97 + number // 26)}"])
        assert len(tokenizer.word_tokens) <= 50
        assert len(tokenizer.cache) <= 2
    assert torch.equal(tokenizer(["start abc"]), first)


LONG = {
    "thai": "ภาพถ่ายของแมวสีส้มที่นอนอยู่บนโซฟาสีน้ำเงินข้างหน้าต่างบานใหญ่" * 8,
    "chinese": "一只橙色的猫躺在大窗户旁边的蓝色沙发上" * 20,
    "japanese": "大きな窓のそばの青いソファに横たわるオレンジ色の猫" * 12,
    "korean": "큰창문옆파란소파에누워있는주황색고양이" * 15,
    "address": "https://example.com/" + "a-Path_with/many.parts?and=some&more=1" * 10,
    "one letter": "x" * 1000,
    "two letters": "ab" * 500,
    "signs": "-" * 300 + "_" * 300 + "=-" * 100,
    "joined words": "averylongcompoundwordwithoutanyspaces" * 20,
}


@pytest.mark.parametrize("name", list(LONG))
def test_a_text_that_is_one_long_word_has_the_tokens_of_open_clip(tokenizer: Tokenizer, name: str) -> None:
    texts = [LONG[name], f"a {LONG[name]} b", LONG[name][1:200]]
    assert torch.equal(tokenizer(texts), open_clip.get_tokenizer("ViT-B-16")(texts))


def test_words_are_merged_as_open_clip_merges_them(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(5)
    theirs = open_clip.get_tokenizer("ViT-B-16")
    alphabets = (
        "ab",
        "the and",
        "aeinrst",
        "".join(map(chr, range(33, 127))),
        "ไทยกาแมว",
        "一只橙色的猫",
        "éßøΩжя🚀👩‍🚀",
    )
    words = [
        "".join(rng.choice([*letters], rng.integers(1, 90))) for letters in alphabets for _ in range(300)
    ]
    letters = ["".join(tokenizer.byte_encoder[byte] for byte in word.encode()) for word in words]
    for word in letters:
        assert clip_tokens.merged(word, tokenizer.bpe_ranks) == theirs.bpe(word).split(" ")


def test_equal_pairs_are_merged_before_what_they_make() -> None:
    # Of all places of a pair the first makes a part whose own pair comes before it: the others come first all the same.
    ranks = {("b", "c"): 0, ("abc", "a"): 1, ("a", "bc"): 2, ("a", "bc</w>"): 2, ("b", "c</w>"): 0}
    assert clip_tokens.merged("abcabcx", ranks) == ["abc", "abc", "x</w>"]


def test_the_time_of_a_long_word_does_not_grow_with_its_square(tokenizer: Tokenizer) -> None:
    looked: dict[int, int] = {}

    class Counted(dict[tuple[str, str], int]):
        asked = 0

        def get(self, *arguments: object) -> object:
            self.asked += 1
            return super().get(*arguments)

    for count in (1000, 4000):
        ranks = Counted(tokenizer.bpe_ranks)
        clip_tokens.merged("ab" * count, ranks)
        looked[count] = ranks.asked
    assert looked[4000] < 5 * looked[1000]


def test_long_words_without_end_are_refused_by_field(demo_clip: ClipModel) -> None:
    engines = models.engines(max_word_letters=1000)
    for text in (("fine", f"a {'字' * 999} b"), ("x" * 128,) * 40, ("1" * 4000, "many words " * 300)):
        engines.prepare(ENCODE_TEXT.rpc, TextItem(Texts(text=text)), EncodeTextParams(), demo_clip)
    for word in ("x" * 501, "ß" * 501, "-" * 501, "_" * 501, "字" * 501):
        texts = Texts(text=("fine", f"a {word} b", word))
        with pytest.raises(InvalidFields) as caught:
            engines.prepare(ENCODE_TEXT.rpc, TextItem(texts), EncodeTextParams(), demo_clip)
        (violation,) = caught.value.violations
        assert violation.field == "texts.text[2]"
        assert "have 1002 together, at most 1000 (--max-word-letters)" in violation.message
        item = QueryItem(
            models.encoded(models.picture(32, 32)), query=TextQuery(text=(word,), negative_text=(word,))
        )
        with pytest.raises(InvalidFields) as caught:
            engines.prepare(COMPUTE_SIMILARITY.rpc, item, ComputeSimilarityParams(load_size=-1), demo_clip)
        (violation,) = caught.value.violations
        assert violation.field == "query.negative_text[0]"
