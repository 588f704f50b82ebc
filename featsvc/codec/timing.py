"""What an answer has taken, as a reply says it beside its body: in the form of HTTP's Server-Timing header."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

HEADER = "x-featsvc-timing"
"""Of replies; of a request it asks for that also where it would be left out."""
WANTED = "1"
PARTS = ("queue", "decode", "compute", "encode")
PART = re.compile(r"(\w+);(?:dur|desc)=([0-9a-z.]{1,15})")


@dataclass(frozen=True, slots=True)
class Timing:
    """The parts of an answer, one after the other, in milliseconds."""

    queue_ms: float
    """All waiting: for a worker, at the worker, and the way there and back."""
    decode_ms: float
    """Decoding and resizing the picture, or splitting texts into tokens."""
    compute_ms: float
    """The pass of the network, pauses left out; all that share it have the same."""
    encode_ms: float
    """From the result to the first message of the reply."""
    batch_size: int
    """How many questions shared the pass."""
    precision: str = ""
    """What its worker computes in, such as bf16; empty where it does not say so."""

    def written(self) -> str:
        """The text of the header."""
        told = f", precision;desc={self.precision}" if self.precision else ""
        return (
            f"queue;dur={self.queue_ms:.2f}, decode;dur={self.decode_ms:.2f}, "
            f"compute;dur={self.compute_ms:.2f}, encode;dur={self.encode_ms:.2f}, batch;desc={self.batch_size}{told}"
        )

    @classmethod
    def read(cls, text: str) -> Self | None:
        """What a header says; None where it is none of these."""
        parts = dict(PART.findall(text))
        try:
            queue, decode, compute, encode = map(float, (parts[name] for name in PARTS))
            return cls(queue, decode, compute, encode, int(parts["batch"]), parts.get("precision", ""))
        except (KeyError, ValueError):
            return None

    def encoded_in(self, further_ms: float) -> Self:
        """The same where a second process has had to write the reply anew."""
        return replace(self, encode_ms=self.encode_ms + further_ms)
