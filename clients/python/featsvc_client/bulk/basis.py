"""One basis of principal components for all pictures of a run, fitted over some that are drawn by chance."""

from __future__ import annotations

import argparse
import hashlib
import threading
from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.items import Item

OPTION = "--pca-sample"


class Named(Protocol):
    """A picture among many."""

    @property
    def key(self) -> str:
        """Its name."""


N = TypeVar("N", bound=Named)
T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """Which pictures the basis is fitted over."""

    size: int
    seed: int

    @property
    def facts(self) -> dict[str, object]:
        """What tells it from others, as JSON."""
        return {"pca_sample": self.size, "pca_seed": self.seed}

    def pictures(self, inputs: Inputs, stop: threading.Event) -> list[bytes]:
        """Those pictures, as files; others in place of those that cannot be read.

        `stop` is set where nobody waits for them.
        """
        every = (item for source in inputs.sources() for item in source.items())
        return self.drawn(every, _content, stop)

    def drawn(self, items: Iterable[N], taken: Callable[[N], T | None], stop: threading.Event) -> list[T]:
        """What is `taken` of `size` of the items, the same ones in whatever order they come: before the next one comes,
        and of few in vain. An item of which nothing can be taken is not drawn."""
        best = list[tuple[bytes, T]]()
        for each in takewhile(lambda _: not stop.is_set(), items):
            rank = hashlib.sha256(f"{self.seed}/{each.key}".encode()).digest()
            if len(best) == self.size and rank >= best[-1][0]:
                continue
            if (found := taken(each)) is not None:
                insort(best, (rank, found), key=itemgetter(0))
                del best[self.size :]
        return [each for _, each in best]


def add(parser: argparse.ArgumentParser) -> None:
    """The options of a command whose answers may be principal components."""
    group = parser.add_argument_group("colours that can be compared")
    group.add_argument(
        OPTION,
        type=_size,
        metavar="N",
        help="take the principal components of N of the pictures together, and show all pictures in these. Beside "
        "--ret-pca; the inputs are gone through once more before.",
    )
    group.add_argument(
        "--pca-seed",
        type=int,
        default=0,
        metavar="SEED",
        help="which pictures are drawn for it [%(default)s]",
    )


def taken(named: dict[str, Any]) -> Sample | None:
    """What these options say; takes them out of the arguments. Any: values of argparse."""
    size, seed = (named.pop(name, None) for name in ("pca_sample", "pca_seed"))
    return None if size is None else Sample(size, seed)


def _content(item: Item) -> bytes | None:
    """Its file; None where there is nothing in it, or it cannot be read."""
    try:
        return item.read() or None
    except (OSError, ValueError):
        return None


def _size(written: str) -> int:
    number = int(written)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
