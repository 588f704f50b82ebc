"""Texts to token numbers: open_clip's tokenizer, which here does no needless work and keeps no more than it should."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

from open_clip.tokenizer import SimpleTokenizer

from featsvc.errors import invalid_field

MOST_WORDS = 1 << 16
"""Words whose tokens are remembered; upstream forgets none."""


class Tokenizer(SimpleTokenizer):  # type: ignore[misc]  # open_clip is untyped
    """Texts to tokens, N x context length. Made once for a model: making it was a third of a text request."""

    def __init__(self, context_length: int, **arguments: object) -> None:
        super().__init__(context_length=context_length, **arguments)
        self.cache: dict[str, str] = self.cache  # upstream's own, of which open_clip does not tell the type
        self._special = dict(self.cache)
        self._one_at_a_time = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """The tokens of one text, as upstream's, but no more of them than the context holds."""
        if self.reduction_fn is not None:
            found: list[int] = super().encode(text)
            return found
        tokens: list[int] = []
        with self._one_at_a_time:
            if len(self.cache) > MOST_WORDS:
                self.cache = dict(self._special)
            for word in self.pat.finditer(self.clean_fn(text)):
                if len(tokens) >= self.context_length:
                    break
                letters = "".join(self.byte_encoder[byte] for byte in word[0].encode())
                tokens.extend(self.encoder[part] for part in self.bpe(letters).split(" "))
        return tokens


def check_words(texts: Iterable[str], longest: int, field: str) -> None:
    """Refuses words without end: the time that their pairs take to merge grows with the square of their length."""
    run = re.compile(rf"[^\W\d_]{{{longest + 1},}}|(?:[^\s\w]|_){{{longest + 1},}}")
    for index, text in enumerate(texts):
        if found := run.search(text):
            message = f"a word of {len(found[0])} letters or signs without a space, at most {longest}"
            raise invalid_field(f"{field}[{index}]", message)
