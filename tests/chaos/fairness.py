"""What a flood of one caller does to another's small questions: `python -m tests.chaos.fairness --before FOLDER`.

For each flood another caller asks a text, a click and a small picture, one after the other: beside a well-behaved load
of the same kind (two callers that wait for their answers), and beside the flood. The table tells the slowest of a
hundred (p99) of each, their ratio, and how many of the other's questions failed. FOLDER is a checkout of this
repository as it was before, for the same figures beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from tests.chaos import floods
from tests.chaos.floods import Flood, Other, channels
from tests.servers import FREE_PORTS, KEY, KEY_OF_OTHERS, ROOT, Server, started

FLAGS = ("--profile=demo", "--offline", "--devices=cpu", f"--api-key={KEY},{KEY_OF_OTHERS}")
WELL_BEHAVED = 2


def small() -> bytes:
    """A picture of the other, and of floods of many."""
    buffer = io.BytesIO()
    Image.effect_noise((224, 160), 60).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def all_floods(megabytes: float) -> list[Flood]:
    """By what each caller of them asks."""
    picture = small()
    return [
        Flood(f"64 pictures of {megabytes:g} MB", 64, floods.pictures(megabytes)),
        Flood("100 automatic masks", 100, floods.automatic_masks(picture)),
        Flood("stream of 10,000", 1, floods.stream(picture, 10_000)),
        Flood("300 hasty callers", 300, floods.hasty(picture)),
        Flood("1,100 open streams", 1100, floods.stream(picture, 1000)),
    ]


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """The server of a checkout."""
    words = [sys.executable, "-m", "featsvc", "serve", *FREE_PORTS, *FLAGS]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
    with (
        tempfile.TemporaryDirectory() as logs,
        started(words, folder, environment, Path(logs) / "log") as server,
    ):
        yield server


async def beside(server: Server, flood: Flood, callers: int, given: argparse.Namespace) -> Other:
    """The other's questions beside so many callers of a flood, which is a process of its own."""
    seconds, megabytes = given.seconds, given.megabytes
    async with channels(server.target, 1) as (channel,):
        other = Other(channel, KEY_OF_OTHERS, small())
        await other.ask()
        other.took_s.clear()
        # Floods come from other machines: what their clients compute is to take nothing from the server.
        words = (
            *("nice", "-n", "19"),
            *(sys.executable, "-m", "tests.chaos.fairness", "--only", flood.name, "--flood", server.target),
        )
        flooding = await asyncio.create_subprocess_exec(
            *words,
            f"--callers={callers}",
            f"--megabytes={megabytes}",
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert flooding.stdout is not None
        try:
            await flooding.stdout.readline()  # it begins
            await asyncio.sleep(2.0)
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                await other.ask()
        finally:
            flooding.kill()
            await flooding.wait()
        return other


def p99_ms(other: Other) -> dict[str, float]:
    """The slowest of a hundred, by kind."""
    return {kind: 1000 * float(np.quantile(took_s, 0.99)) for kind, took_s in other.took_s.items()}


async def line(name: str, flood: Flood, folder: Path, given: argparse.Namespace) -> str:
    """A row of the table, of a server of its own."""
    with served(folder) as server:
        calm = await beside(server, flood, min(WELL_BEHAVED, flood.callers), given)
        flooded = await beside(server, flood, flood.callers, given)
    before, after = p99_ms(calm), p99_ms(flooded)
    kinds = " ".join(
        f"{before.get(kind, float('nan')):7.0f} {after.get(kind, float('nan')):7.0f}"
        f" {after.get(kind, float('nan')) / before.get(kind, float('nan')):6.2f}  "
        for kind in ("text", "click", "picture")
    )
    asked = len(flooded.failed) + sum(map(len, flooded.took_s.values()))
    return f"{flood.name:<24}{name:<8}{kinds} {len(flooded.failed):4} of {asked}"


async def main() -> None:
    """Prints the table. In one event loop: gRPC's channels work in no second one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of the repository as it was")
    parser.add_argument("--seconds", type=float, default=15.0, help="that the other asks, for each figure")
    parser.add_argument("--megabytes", type=float, default=30.0, help="of a large picture")
    parser.add_argument("--only", default="", help="floods whose name has this")
    parser.add_argument("--flood", default="", help="only be the flood that --only names, of this server")
    parser.add_argument("--callers", type=int, default=0, help="how many it has")
    given = parser.parse_args()
    if given.flood:
        (flood,) = [each for each in all_floods(given.megabytes) if each.name == given.only]
        print("begins", flush=True)
        await flood.run(given.flood, KEY, given.callers)
    head = " ".join(f"{kind + ' calm':>7} {'flood':>7} {'ratio':>6}  " for kind in ("text", "click", "pic"))
    print(f"{'p99 in ms':<24}{'':<8}{head} {'failed':>12}", flush=True)
    folders = {"now": ROOT} | ({"before": given.before} if given.before else {})
    for flood in all_floods(given.megabytes):
        if given.only in flood.name:
            for name, folder in folders.items():
                print(await line(name, flood, folder, given), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
