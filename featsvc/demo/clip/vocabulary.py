"""The words that demo-clip knows, and the part of CLIP's byte-pair merges that spells them."""

from __future__ import annotations

import gzip
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, get_pairs

from featsvc.demo.drawing.shapes import SHAPES
from featsvc.demo.drawing.textures import COLOURS

_OTHERS = """
a an the one of and with in on is are there this image photo picture drawing scene
shape object thing background colour color coloured colored something nothing empty
disc disk cube box plus donut hoop magenta violet turquoise light dark small large big
two three four five six left right top bottom middle next to above below behind front
"""

WORDS = (*COLOURS, *SHAPES, *_OTHERS.split())


def _merges_of(word: str, ranks: dict[tuple[str, str], int]) -> set[tuple[str, str]]:
    """The merges that take the word from letters to its tokens."""
    parts = (*word[:-1], word[-1] + "</w>")
    used: set[tuple[str, str]] = set()
    while len(parts) > 1:
        best = min(get_pairs(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        used.add(best)
        joined: list[str] = []
        for part in parts:
            if joined and (joined[-1], part) == best:
                joined[-1] += part
            else:
                joined.append(part)
        parts = tuple(joined)
    return used


def write_merges(path: Path) -> None:
    """Writes the merges of WORDS in CLIP's own order and file format."""
    ranks = SimpleTokenizer().bpe_ranks
    used = set().union(*(_merges_of(word, ranks) for word in WORDS))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in sorted(used, key=lambda pair: ranks[pair]))]
    # No newline at the end: the tokenizer would read an empty merge after it.
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
