"""Texts to token numbers: open_clip's tokenizer, which here does no needless work and keeps no more than it should."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from featsvc.errors import invalid_field

MOST_WORDS = 1 << 16
"""Words whose tokens are kept; upstream forgets none."""


class Tokenizer(SimpleTokenizer):  # type: ignore[misc]  # open_clip is untyped
    """Texts to tokens, N x context length. Made once for a model: making it was a third of a text request."""

    def __init__(self, context_length: int, clean: str = "lower", **arguments: object) -> None:
        super().__init__(context_length=context_length, clean=clean, **arguments)
        self.known: dict[str, tuple[int, ...]] = {}
        """Tokens of words that were seen lately."""
        self._lowers = clean == "lower"
        self.cache: dict[str, str] = self.cache  # upstream's own, of which open_clip does not tell the type
        self._special = dict(self.cache)
        self._one_at_a_time = threading.Lock()

    def __call__(self, texts: Iterable[str], context_length: int | None = None) -> Tensor:
        """Texts between start and end tokens, N x context length of int64, zeros behind; as upstream's."""
        if self.reduction_fn is not None:
            found: Tensor = super().__call__(list(texts), context_length)
            return found
        length = context_length or self.context_length
        rows = [[self.sot_token_id, *self.encode(text)[: length - 2], self.eot_token_id] for text in texts]
        tokens = np.zeros((len(rows), length), np.int64)
        for place, row in zip(tokens, rows, strict=True):
            place[: len(row)] = row
        return torch.from_numpy(tokens)

    def encode(self, text: str) -> list[int]:
        """The tokens of one text, as upstream's, but no more of them than the context holds."""
        if self.reduction_fn is not None:
            found: list[int] = super().encode(text)
            return found
        tokens: list[int] = []
        with self._one_at_a_time:
            for word in self.pat.finditer(self._clean(text)):
                if len(tokens) >= self.context_length:
                    break
                tokens += self.known.get(word[0]) or self._split(word[0])
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
        found = tuple(self.encoder[part] for part in self.bpe(letters).split(" "))
        # Upstream keeps what it has merged, for ever.
        self.cache = dict(self._special)
        if len(self.known) >= MOST_WORDS:
            self.known.clear()
        self.known[word] = found
        return found


def check_words(texts: Iterable[str], longest: int, field: str) -> None:
    """Refuses words without end: the time that their pairs take to merge grows with the square of their length."""
    run = re.compile(rf"[^\W\d_]{{{longest + 1},}}|(?:[^\s\w]|_){{{longest + 1},}}")
    for index, text in enumerate(texts):
        if found := run.search(text):
            message = f"a word of {len(found[0])} letters or signs without a space, at most {longest}"
            raise invalid_field(f"{field}[{index}]", message)
