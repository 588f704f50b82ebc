"""Text embeddings: short passes for short texts, and what was computed lately is kept."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from open_clip.transformer import text_global_pool
from torch import Tensor

from featsvc.engines.clip.last_block import at_positions
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.running.cache import ByteCache
from featsvc.engines.running.transfer import on_device, on_host
from featsvc.work.results import Floats

Vector = NDArray[np.float32]
TextKey = tuple[Hashable, str]
"""Model and text."""
TextCache = ByteCache[TextKey, Vector]
Tokens = NDArray[np.int64]

TEXTS_AT_ONCE = 64
"""Texts that the network takes in one pass."""
LENGTH_STEP = 8
"""Texts are computed at their own length in tokens, rounded up to a multiple of this."""
NARROW, NARROW_STEP = 256, 16
"""Towers up to this width take another step: their tokens cost less than further passes for further lengths do."""
ENTRY_BYTES = 1 << 10
"""What an entry of the cache takes beside its embedding: its text, mostly."""


def text_cache(max_bytes: int) -> TextCache:
    """Embeddings by model and text."""
    return ByteCache("clip_texts", max_bytes, lambda vector: vector.nbytes + ENTRY_BYTES, is_on_host=True)


@dataclass(frozen=True)
class Words:
    """Texts on the way to their embeddings."""

    texts: tuple[str, ...]
    cached: Mapping[str, Vector]
    """Embeddings that were there. An entry that is given up meanwhile is still here."""
    tokens: Mapping[str, Tokens]
    """Of the other texts, `length` tokens each: no longer than they need to be."""

    @property
    def cost(self) -> int:
        """Tokens that the network must see."""
        return sum(map(len, self.tokens.values()))


def words(texts: Iterable[str], loaded: ClipModel, cache: TextCache) -> Words:
    """Looks texts up, and makes tokens of those that are not there."""
    every = tuple(texts)
    cached = {
        text: vector
        for text in dict.fromkeys(every)
        if (vector := cache.find(_key(loaded, text))) is not None
    }
    missing = [text for text in dict.fromkeys(every) if text not in cached]
    if not missing:
        return Words(every, cached, {})
    tokens = loaded.tokenizer(missing).numpy()
    lengths = _lengths(loaded.network, tokens)
    return Words(
        every, cached, {text: row[:n] for text, row, n in zip(missing, tokens, lengths, strict=True)}
    )


def _key(loaded: ClipModel, text: str) -> TextKey:
    return loaded.identity, text


def _lengths(network: CLIP, tokens: Tokens) -> list[int]:
    """Tokens that each text needs, of tokens N x context length.

    The answer is read at the end-of-text token, which has the largest number, and no position sees a later one. So
    what comes after it changes nothing, and with it goes most of the work: texts seldom have 77 tokens.
    """
    context = tokens.shape[1]
    if network.attn_mask is None or network.text_pool_type != "argmax":
        return [context] * len(tokens)
    step = NARROW_STEP if network.transformer.width <= NARROW else LENGTH_STEP
    ends = tokens.argmax(axis=1).tolist()
    return [min(context, -(-(end + 1) // step) * step) for end in ends]


def embedded(batch: list[Words], loaded: ClipModel, cache: TextCache) -> list[Floats]:
    """Embeddings of each item's texts, N x D of length 1, computed together.

    A text's embedding does not depend on its company: texts of one length share a pass, and a row of a matrix
    product has the same bits whatever the other rows, as long as their number is a multiple of 8 (so it is with MKL
    and oneDNN on the CPUs where this was tried; `test_clip_text` checks it where it runs). Elsewhere, as on a GPU,
    other company may change the last bits, within 1e-4; while a text is kept its answers are the same bytes anyway.
    """
    vectors: dict[str, Vector] = {}
    tokens: dict[str, Tokens] = {}
    for item in batch:
        vectors.update(item.cached)
        tokens.update(item.tokens)
    for text in list(tokens):
        # A batch that was computed meanwhile may have had the same text.
        vector = vectors.get(text) if text in vectors else cache.find(_key(loaded, text))
        if vector is not None:
            vectors[text] = vector
            del tokens[text]
    for some in _passes(tokens):
        together = torch.from_numpy(np.stack([tokens[text] for text in some]))
        (rows,) = on_host(text_features(loaded.network, on_device(together, loaded.device)))
        for text, row in zip(some, rows.numpy(), strict=True):
            vectors[text] = row.copy()
            cache.put(_key(loaded, text), vectors[text])
    return [np.stack([vectors[text] for text in item.texts]) for item in batch]


def _passes(tokens: Mapping[str, Tokens]) -> Iterable[list[str]]:
    """Texts of one length, so many at once as the network takes."""
    by_length: dict[int, list[str]] = {}
    for text, row in tokens.items():
        by_length.setdefault(len(row), []).append(text)
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
