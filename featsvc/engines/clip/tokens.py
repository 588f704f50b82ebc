"""Texts to token numbers: open_clip's tokenizer, which here does no needless work and keeps no more than it should."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from featsvc.errors import invalid_field

MOST_WORDS = 1 << 16
"""Words whose tokens are kept; upstream forgets none."""
LONG = 128
"""Letters of a word that is not kept."""
LONG_WORD = re.compile(rf"[^\W\d_]{{{LONG + 1},}}|(?:[^\s\w]|_){{{LONG + 1},}}")


class Tokenizer(SimpleTokenizer):  # type: ignore[misc]  # open_clip is untyped
    """Texts to tokens, N x context length. Made once for a model: making it was a third of a text request."""

    def __init__(self, context_length: int, clean: str = "lower", **arguments: object) -> None:
        super().__init__(context_length=context_length, clean=clean, **arguments)
        self.word_tokens: dict[str, tuple[int, ...]] = {}
        """Tokens of words that were seen lately."""
        self._lowers = clean == "lower"
        self._special = frozenset(self.cache)
        self._one_at_a_time = threading.Lock()

    def __call__(self, texts: Iterable[str], context_length: int | None = None) -> Tensor:
        """Texts between start and end tokens, N x context length of int64, zeros behind; as upstream's."""
        if self.reduction_fn is not None:
            encoded: Tensor = super().__call__(list(texts), context_length)
            return encoded
        length = context_length or self.context_length
        rows = [[self.sot_token_id, *self.encode(text)[: length - 2], self.eot_token_id] for text in texts]
        tokens = np.zeros((len(rows), length), np.int64)
        for place, row in zip(tokens, rows, strict=True):
            place[: len(row)] = row
        return torch.from_numpy(tokens)

    def encode(self, text: str) -> list[int]:
        """The tokens of one text, as upstream's, but no more of them than the context holds."""
        if self.reduction_fn is not None:
            whole: list[int] = super().encode(text)
            return whole
        tokens: list[int] = []
        with self._one_at_a_time:
            for word in self.pat.finditer(self._clean(text)):
                if len(tokens) >= self.context_length:
                    break
                tokens += self.word_tokens.get(word[0]) or self._split(word[0])
        return tokens

    def _clean(self, text: str) -> str:
        """What `clean_fn` makes of it. Its repairs take a third of the time, and change nothing in plain ASCII."""
        if self._lowers and text.isascii() and text.isprintable() and "&" not in text:
            return " ".join(text.split()).lower()
        cleaned: str = self.clean_fn(text)
        return cleaned

    def _split(self, word: str) -> tuple[int, ...]:
        """The tokens of a word that was not seen lately."""
        letters = "".join(self.byte_encoder[byte] for byte in word.encode())
        if letters in self._special:
            return (self.encoder[letters],)
        tokens = tuple(self.encoder[part] for part in merged(letters, self.bpe_ranks))
        if len(word) <= LONG:
            if len(self.word_tokens) >= MOST_WORDS:
                self.word_tokens.clear()
            self.word_tokens[word] = tokens
        return tokens


def merged(word: str, ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """The parts of a word after all merges, as `SimpleTokenizer.bpe` finds them.

    That looks at all pairs for every merge, which takes time with the square of the word's length. Here pairs wait in
    a heap, and each merge looks at its neighbours alone.
    """
    parts: list[str | None] = [*word[:-1], word[-1] + "</w>"]
    before, after = list(range(-1, len(parts) - 1)), [*range(1, len(parts)), -1]
    waiting: list[tuple[int, int]] = []

    def rank(place: int) -> int | None:
        """Of the pair that begins at a place."""
        first = parts[place]
        second = parts[after[place]] if after[place] >= 0 else None
        return None if first is None or second is None else ranks.get((first, second))

    def wait(place: int) -> None:
        found = rank(place)
        if found is not None:
            heappush(waiting, (found, place))

    for place in range(len(parts)):
        wait(place)
    while waiting:
        # All places of the best pair, from left to right, before any pair that this makes.
        best, changed = waiting[0][0], []
        while waiting and waiting[0][0] == best:
            _, place = heappop(waiting)
            if rank(place) != best:
                continue  # It was merged with another meanwhile, or waited twice.
            second = after[place]
            parts[place], parts[second] = f"{parts[place]}{parts[second]}", None
            after[place] = after[second]
            if after[place] >= 0:
                before[after[place]] = place
            changed.append(place)
        for place in changed:
            for pair in {place, before[place]} - {-1}:
                wait(pair)
    return [part for part in parts if part is not None]


def check_words(texts: Mapping[str, Iterable[str]], most: int) -> None:
    """Refuses texts, by their fields, whose long words have more than `most` letters: those take longer than others."""
    total = 0
    for field, several in texts.items():
        for index, text in enumerate(several):
            total += sum(len(run[0]) for run in LONG_WORD.finditer(text))
            if total > most:
                raise invalid_field(
                    f"{field}[{index}]",
                    f"with this text, words of over {LONG} letters or signs have {total} together, at most "
                    f"{most} (--max-word-letters): send fewer texts at once",
                )
