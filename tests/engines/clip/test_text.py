"""Texts: computed at their own length and together, kept, and the same bytes in any company."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from featsvc.engines.clip import text as clip_text
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.settings.kinds import Precision
from featsvc.v1.schema import ComputeSimilarityParams, EncodeTextParams, TextQuery, Texts
from featsvc.work.item import QueryItem, TextItem
from featsvc.work.operations import COMPUTE_SIMILARITY, ENCODE_TEXT
from featsvc.work.results import Floats, TextEmbeddings
from tests.engines import models

OPERATION = ENCODE_TEXT.rpc
LONG = "red circle and blue star " * 30
VARIED = ("!", "a", "a red circle", "a photo of a small green ring left of a blue star", LONG, "a ring")


def run(engines: Engines, loaded: ClipModel, *requests: tuple[str, ...]) -> list[Floats]:
    """Embeddings of requests that share a batch."""
    params = EncodeTextParams()
    prepared = [engines.prepare(OPERATION, TextItem(Texts(text=text)), params, loaded) for text in requests]
    results = engines.run(OPERATION, prepared, params, loaded)
    assert all(isinstance(each, TextEmbeddings) for each in results)
    return [each.text_embedding for each in results]


def forgetful() -> Engines:
    """Engines that keep no text."""
    return models.engines(text_cache=0)


def test_texts_cut_to_their_length_have_the_embeddings_of_open_clip(vit_b16: ClipModel) -> None:
    (got,) = run(forgetful(), vit_b16, VARIED)
    tokens = vit_b16.tokenizer(list(VARIED))
    wanted = F.normalize(models.plain_clip().encode_text(tokens), dim=-1).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert len({row.tobytes() for row in got}) == len(VARIED)


def test_a_network_sees_no_more_tokens_than_a_text_needs(
    demo_clip: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    forward = clip_text.text_features

    def counted(network: object, tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tokens.shape))
        return forward(network, tokens)

    monkeypatch.setattr(clip_text, "text_features", counted)
    run(forgetful(), demo_clip, ("a red circle", "a blue star"), (LONG,), ("a ring", "a red circle"))
    # Equal texts of a batch are one; the longest has the whole context.
    assert sorted(seen) == [(1, 32), (3, 16)]


def test_a_wide_network_takes_lengths_in_smaller_steps(
    vit_b16: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    forward = clip_text.text_features
    monkeypatch.setattr(
        clip_text,
        "text_features",
        lambda network, tokens: seen.append(tokens.shape) or forward(network, tokens),
    )
    run(forgetful(), vit_b16, ("a red circle",))
    assert seen == [(1, 8)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("count", [2, 7, 8, 64, 70])
def test_a_text_has_the_same_bytes_alone_and_in_any_batch(count: int, precision: Precision) -> None:
    engines = models.engines(text_cache=0, precision=precision)
    loaded = engines.load("demo-clip")
    others = tuple(f"a red ring and {number} stars" for number in range(count - 1))
    together = run(engines, loaded, ("a red circle", *others), VARIED)
    (alone,) = run(engines, loaded, ("a red circle",))
    assert together[0][0].tobytes() == alone[0].tobytes() == together[1][2].tobytes()
    for text, row in zip(VARIED, together[1], strict=True):
        assert run(engines, loaded, (text,))[0][0].tobytes() == row.tobytes(), text


def test_a_real_text_tower_gives_the_same_bytes_alone_and_in_a_batch(vit_b16: ClipModel) -> None:
    engines = forgetful()
    (together,) = run(engines, vit_b16, (*VARIED, *(f"{number} cars" for number in range(9))))
    for text, row in zip(VARIED, together, strict=False):
        assert run(engines, vit_b16, (text,))[0][0].tobytes() == row.tobytes(), text


def test_a_kept_text_is_neither_tokenized_nor_computed_again(
    demo_clip: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = models.engines()
    (first,) = run(engines, demo_clip, ("a red circle", "a blue star"))

    def never(*_: object) -> None:
        raise AssertionError("it was there")

    monkeypatch.setattr(clip_text, "text_features", never)
    monkeypatch.setitem(demo_clip.__dict__, "tokenizer", never)
    (second,) = run(engines, demo_clip, ("a blue star", "a red circle"))
    assert second.tobytes() == first[::-1].tobytes()


def test_similarity_and_text_embeddings_share_what_is_kept(demo_clip: ClipModel) -> None:
    engines = models.engines()
    run(engines, demo_clip, ("a red circle", "a blue star"))
    item = QueryItem(
        models.encoded(models.picture(64, 48)), query=TextQuery(text="a red circle", negative_text="a ring")
    )
    models.answer(engines, COMPUTE_SIMILARITY.rpc, item, ComputeSimilarityParams(load_size=48), demo_clip)
    texts = next(each for each in engines.caches() if each.name == "clip_texts")
    assert (texts.hits, texts.misses, texts.entries) == (1, 3, 3)
    assert texts.nbytes == 3 * (128 * 4 + clip_text.ENTRY_BYTES) <= texts.max_bytes == 64 << 20


def test_what_is_kept_of_one_model_is_not_answered_for_another() -> None:
    engines = models.engines()
    one, other = engines.load("demo-clip"), models.random_clip("demo-clip", seed=3)
    other = replace(other, entry=replace(other.entry, key="other"))
    (ours,), (theirs,) = (run(engines, each, ("a red circle",)) for each in (one, other))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() > 0.01


def test_weights_that_were_replaced_do_not_answer_from_the_past(demo_clip: ClipModel) -> None:
    engines = models.engines()
    run(engines, demo_clip, ("a red circle",))
    again = replace(demo_clip, file=("demo.safetensors", 2))
    run(engines, again, ("a red circle",))
    texts = next(each for each in engines.caches() if each.name == "clip_texts")
    assert (texts.hits, texts.misses) == (0, 2)


def test_the_oldest_texts_go_when_there_is_no_more_room(demo_clip: ClipModel) -> None:
    engines = models.engines(text_cache=3 * (128 * 4 + clip_text.ENTRY_BYTES))
    run(engines, demo_clip, tuple(f"{number} stars" for number in range(5)))
    texts = next(each for each in engines.caches() if each.name == "clip_texts")
    assert (texts.entries, texts.evictions, texts.misses) == (3, 2, 5)


def test_what_is_kept_of_long_texts_takes_what_is_counted(demo_clip: ClipModel) -> None:
    engines = models.engines()
    run(engines, demo_clip, ("a red circle",))
    tracemalloc.start()
    run(engines, demo_clip, tuple("a red circle " * 300 + str(number) for number in range(40)))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    texts = next(each for each in engines.caches() if each.name == "clip_texts")
    assert texts.entries == 41
    assert held < 2 * texts.nbytes


def test_only_new_texts_cost_tokens(demo_clip: ClipModel) -> None:
    engines, params = models.engines(), EncodeTextParams()

    def cost() -> int:
        item = TextItem(Texts(text=("a red circle", "a red circle", LONG)))
        return engines.pixels(engines.prepare(OPERATION, item, params, demo_clip))

    assert cost() == (16 + 32) * 16**2
    run(engines, demo_clip, (LONG,))
    assert cost() == 16 * 16**2
