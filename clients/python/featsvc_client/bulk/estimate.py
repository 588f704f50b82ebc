"""What a run would do: how many pictures, how many bytes, how long, from the answers about a few of them."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from featsvc_client.bulk.asking import Asker
from featsvc_client.bulk.commands import COCO
from featsvc_client.bulk.folder import Folder
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.items import Item, Source
from featsvc_client.bulk.manifest import Manifest
from featsvc_client.bulk.store import Store, Todo
from featsvc_client.errors import FeatsvcError

SAMPLES = 3


@dataclass(frozen=True)
class Estimate:
    """What is to be expected."""

    pictures: int
    finished: int
    """Those that an earlier run has done."""
    samples: int
    sample_bytes: float
    """Mean of what a sample's result takes on disk."""
    sample_s: float
    """Mean time of an answer; the first is left out where there are others, because it may load the model."""

    def lines(self) -> Iterator[str]:
        """What to tell the user."""
        left = max(0, self.pictures - self.finished)
        yield f"{self.pictures} pictures: {left} to do, {self.finished} done before"
        if not self.samples:
            yield "no sample could be asked about, so their size and time are not known"
            return
        yield f"about {readable(left * self.sample_bytes)} will be written ({readable(self.sample_bytes)} a picture)"
        seconds = tqdm.format_interval(left * self.sample_s)
        yield f"about {seconds} one after the other ({self.sample_s:.2f} s a picture); several under way take less"
        yield f"estimated from {self.samples} of the pictures, which were asked about but not kept"


async def estimated(inputs: Inputs, asker: Asker, form: str, finished: int) -> Estimate:
    """Asks about a few pictures from anywhere among all."""
    total, chosen = sampled(inputs)
    nbytes, times = [], []
    with tempfile.TemporaryDirectory(prefix="featsvc-") as aside:
        folder = Folder(Path(aside))
        manifest = Manifest(Path(aside) / "manifest.sqlite")
        manifest.begin_run("", "")
        store = Store(folder, manifest, form, 1)
        for item, content in chosen:
            began = time.monotonic()
            try:
                outcome, picture = asker.question.kept(content, await asker.answer(content))
            except (FeatsvcError, ValueError):
                continue
            times.append(time.monotonic() - began)
            todo = Todo(manifest.see(item.key).position, item.key, item.stamp, "", content)
            nbytes.append(store.keep(todo, outcome, picture))
        manifest.close()
    # Masks are kept twice: one by one, to go on from, and in the one file of all.
    each = _mean(nbytes) * (2 if form == COCO else 1)
    return Estimate(total, finished, len(nbytes), each, _mean(times[1:] or times))


def sampled(inputs: Inputs) -> tuple[int, list[tuple[Item, bytes]]]:
    """How many pictures there are, and some of them."""
    # Always the same ones, so that a second estimate can be compared with the first.
    chance = random.Random(0)
    total, sources = 0, list[Source]()
    for number, source in enumerate(inputs.sources()):
        total += source.count()
        # Algorithm R (Vitter 1985): each has the same chance, and only the chosen ones are kept.
        if number < SAMPLES:
            sources.append(source)
        elif (place := chance.randrange(number + 1)) < SAMPLES:
            sources[place] = source
    chosen: list[tuple[Item, bytes]] = []
    for source in sources:
        chosen.extend(_first(source, SAMPLES // len(sources)))
    return total, chosen


def readable(nbytes: float) -> str:
    """A number of bytes for people."""
    return f"{tqdm.format_sizeof(nbytes, 'B')}" if nbytes >= 1000 else f"{nbytes:.0f} B"


def _first(source: Source, most: int) -> Iterator[tuple[Item, bytes]]:
    """Some pictures of a file, but for those that cannot be read."""
    for number, item in enumerate(source.items()):
        if number >= most:
            return
        try:
            yield item, item.read()
        except (OSError, ValueError):
            continue


def _mean(values: list[int] | list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
