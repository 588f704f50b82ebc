"""Text embeddings: short passes for short texts, and what was computed lately is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from open_clip.transformer import text_global_pool
from torch import Tensor

from featsvc.engines.clip.last_block import at_positions
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.templates import Templates, check_sentences, put_into, sentences_of, templates_of
from featsvc.engines.clip.tokens import check_words
from featsvc.engines.networks.cost import check_texts
from featsvc.engines.running.cache import ByteCache
from featsvc.engines.running.transfer import on_device, on_host
from featsvc.v1.schema import TextParams
from featsvc.work.options import EngineOptions
from featsvc.work.results import Floats

Vector = NDArray[np.float32]
TextKey = tuple[Hashable, bytes]
"""Model, and a digest of the text and what it is put into: these may be a hundred times as large as an embedding."""
TextCache = ByteCache[TextKey, Vector]
Tokens = NDArray[np.int64]

TEXTS_AT_ONCE = 64
"""Texts that the network takes in one pass."""
LENGTH_STEP = 8
"""Texts are computed at their own length in tokens, rounded up to a multiple of this."""
USUAL_STEPS = 3
"""Most texts are no longer than so many of them."""
NARROW, NARROW_STEP = 256, 16
"""Towers up to this width take another step: their tokens cost less than further passes for further lengths do."""
ENTRY_BYTES = 1 << 9
"""What an entry of the cache takes beside its embedding: its key, and the objects around both."""


def text_cache(max_bytes: int) -> TextCache:
    """Embeddings by model, text and templates."""
    return ByteCache("clip_texts", max_bytes, lambda vector: vector.nbytes + ENTRY_BYTES, is_on_host=True)


def _keys(texts: Iterable[str], loaded: ClipModel, templates: Templates) -> dict[str, TextKey]:
    """The key of each text in these templates."""
    # With its length before it, no template can be taken for the beginning of the next, or of the text.
    begin = hashlib.sha256(
        "".join(f"{len(each)}:{each}" for each in templates).encode("utf-8", "surrogatepass")
    )
    keys = {}
    for text in texts:
        digest = begin.copy()
        digest.update(f"|{text}".encode("utf-8", "surrogatepass"))
        keys[text] = (loaded.identity, digest.digest())
    return keys


@dataclass(frozen=True)
class Words:
    """Texts on the way to their embeddings."""

    texts: tuple[str, ...]
    templates: Templates
    cached: Mapping[str, Vector]
    """Embeddings that were there. An entry that is given up meanwhile is still here."""
    tokens: Mapping[str, tuple[Tokens, ...]]
    """Of the other texts, each in all templates, `length` tokens each: no longer than they need to be."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sentence that the network must see."""
        return [len(row) for rows in self.tokens.values() for row in rows]

    def flop(self, loaded: ClipModel) -> float:
        """Arithmetic of them."""
        return sum(map(loaded.text_transformer.flop, self.lengths))


def checked_words(
    texts: Mapping[str, Sequence[str]],
    params: TextParams,
    loaded: ClipModel,
    options: EngineOptions,
    cache: TextCache,
) -> Words:
    """Texts by their fields, one after the other, as `words`; refuses what would take long."""
    templates = templates_of(params)
    if templates:
        check_sentences(texts, templates, options)
    check_words(put_into(texts, templates) if templates else texts, options.max_word_letters)
    sought = words(chain.from_iterable(texts.values()), loaded, cache, templates)
    if templates:
        check_texts(sought.flop(loaded), next(iter(texts)), loaded.entry.key, options)
    return sought


def words(texts: Iterable[str], loaded: ClipModel, cache: TextCache, templates: Templates = ()) -> Words:
    """Looks texts up, and makes tokens of those that are not there."""
    every = tuple(texts)
    keys = _keys(dict.fromkeys(every), loaded, templates)
    cached = {text: vector for text, key in keys.items() if (vector := cache.find(key)) is not None}
    missing = [text for text in keys if text not in cached]
    if not missing:
        return Words(every, templates, cached, {})
    tokens = loaded.tokenizer(sentences_of(missing, templates)).numpy()
    lengths = _lengths(loaded.network, tokens)
    rows = iter([row[:length] for row, length in zip(tokens, lengths, strict=True)])
    count = max(1, len(templates))
    return Words(every, templates, cached, {text: tuple(islice(rows, count)) for text in missing})


def _lengths(network: CLIP, tokens: Tokens) -> list[int]:
    """Tokens that each text needs, of tokens N x context length.

    The answer is read at the end-of-text token, which has the largest number, and no position sees a later one. So
    what comes after it changes nothing, and with it goes most of the work: texts seldom have 77 tokens.
    """
    context, step = tokens.shape[1], _length_step(network)
    if not step:
        return [context] * len(tokens)
    ends = tokens.argmax(axis=1).tolist()
    return [min(context, -(-(end + 1) // step) * step) for end in ends]


def _length_step(network: CLIP) -> int:
    """What lengths are multiples of; 0 where all texts have the same."""
    if network.attn_mask is None or network.text_pool_type != "argmax":
        return 0
    return NARROW_STEP if network.transformer.width <= NARROW else LENGTH_STEP


def usual_lengths(network: CLIP, context: int) -> list[int]:
    """Lengths in tokens of short texts, the longest first."""
    step = _length_step(network) or context
    return [length for length in range(USUAL_STEPS * step, 0, -step) if length <= context]


def embedded(batch: list[Words], loaded: ClipModel, cache: TextCache) -> list[Floats]:
    """Embeddings of each item's texts, N x D of length 1, computed together; all items have the same templates.

    A text's embedding does not depend on its company: texts of one length share a pass, and a row of a matrix
    product has the same bits whatever the other rows, as long as their number is a multiple of 8 (so it is with MKL
    and oneDNN on the CPUs where this was tried; `test_clip_text` checks it where it runs). Elsewhere, as on a GPU,
    other company may change the last bits, within 1e-4; while a text is kept its answers are the same bytes anyway.
    """
    templates = batch[0].templates
    vectors: dict[str, Vector] = {}
    tokens: dict[str, tuple[Tokens, ...]] = {}
    for item in batch:
        vectors.update(item.cached)
        tokens.update(item.tokens)
    keys = _keys(tokens, loaded, templates)
    for text, key in keys.items():
        # A batch that was computed meanwhile may have had the same text.
        vector = vectors.get(text) if text in vectors else cache.find(key)
        if vector is not None:
            vectors[text] = vector
            del tokens[text]
    sentence_vectors = _sentence_vectors(tokens, loaded)
    for text, rows in tokens.items():
        vectors[text] = _mean([sentence_vectors[text, index] for index in range(len(rows))])
        cache.put(keys[text], vectors[text])
    return [np.stack([vectors[text] for text in item.texts]) for item in batch]


def _mean(rows: list[Vector]) -> Vector:
    """The mean of vectors of length 1, of length 1."""
    if len(rows) == 1:
        return rows[0]
    mean: Vector = np.mean(rows, axis=0)
    length: np.float32 = np.linalg.norm(mean)
    return mean / length


Sentence = tuple[str, int]
"""A text, and the index of its template."""


def _sentence_vectors(tokens: Mapping[str, tuple[Tokens, ...]], loaded: ClipModel) -> dict[Sentence, Vector]:
    """Embeddings of texts in their templates."""
    every = {(text, index): row for text, rows in tokens.items() for index, row in enumerate(rows)}
    vectors: dict[Sentence, Vector] = {}
    for some in _passes(every):
        together = torch.from_numpy(np.stack([every[each] for each in some]))
        (rows,) = on_host(_features(on_device(together, loaded.device), loaded))
        for each, row in zip(some, rows.numpy(), strict=True):
            vectors[each] = row.copy()
    return vectors


def _features(tokens: Tensor, loaded: ClipModel) -> Tensor:
    if loaded.embed_texts is None:
        return text_features(loaded.network, tokens)
    (vectors,) = loaded.embed_texts(tokens)
    return vectors


def _passes(tokens: Mapping[Sentence, Tokens]) -> Iterable[list[Sentence]]:
    """Sentences of one length, so many at once as the network takes."""
    by_length: dict[int, list[Sentence]] = {}
    for each, row in tokens.items():
        by_length.setdefault(len(row), []).append(each)
    for same in by_length.values():
        for start in range(0, len(same), TEXTS_AT_ONCE):
            yield same[start : start + TEXTS_AT_ONCE]


def text_features(network: CLIP, tokens: Tensor) -> Tensor:
    """Embeddings N x D of length 1, float32, of tokens N x length: `CLIP.encode_text` at any length."""
    length = tokens.shape[1]
    hidden = network.token_embedding(tokens) + network.positional_embedding[:length]
    # A copy at any length: compiled blocks take a view, laid out differently, for something else.
    mask = None if network.attn_mask is None else network.attn_mask[:length, :length].clone()
    tower = network.transformer
    if network.text_pool_type != "argmax":
        every = _projected(network, network.ln_final(tower(hidden, attn_mask=mask)))
        pooled = text_global_pool(every, tokens, network.text_pool_type, network.text_eos_id)
        return F.normalize(pooled.float(), dim=-1)
    for block in tower.resblocks[:-1]:
        hidden = block(hidden, attn_mask=mask)
    ends = at_positions(tower.resblocks[-1], hidden, tokens.argmax(dim=-1), mask)
    pooled = _projected(network, network.ln_final(ends))[: len(tokens)]
    return F.normalize(pooled.float(), dim=-1)


def _projected(network: CLIP, rows: Tensor) -> Tensor:
    """Into the space that texts and pictures share."""
    projection = network.text_projection
    if projection is None:
        return rows
    answer: Tensor = projection(rows) if isinstance(projection, torch.nn.Module) else rows @ projection
    return answer
