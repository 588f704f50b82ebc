"""Memory of gateway and worker over many mixed requests, and over pictures of ever new sizes."""

from __future__ import annotations

import time
from typing import Any

import psutil

from tests.bench.figures import Row, Side
from tests.bench.stand import Stand, worker_of

MIB = 1 << 20
ROUND = 50
WARM_ROUNDS, ROUNDS = 10, 40
MOST_GROWTH = 0.02
SIZES, WARM_SIZES = 300, 100
REST_S = 75.0
"""Within it a worker that nobody asks looks twice at its memory, and has given back what it has freed."""
PATCH, ROWS_OF_PATCHES = 14, 5
STEP = 97
"""By it all sizes come in turn, large ones soon."""
MIX: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("text", {"model": "demo-clip"}, 15),
    ("embed", {"model": "demo-clip"}, 10),
    ("dense", {"model": "demo-clip", "width": 320, "height": 240, "side": 192}, 10),
    ("dino", {"model": "demo-dino", "width": 320, "height": 240, "side": 224}, 10),
    ("click", {"model": "demo-sam2", "width": 256, "height": 256}, 4),
    ("masks", {"model": "demo-sam2", "width": 256, "height": 256, "options": {"points_per_side": 4}}, 1),
)


def growth(stand: Stand) -> list[Row]:
    """2,000 requests of six kinds from 8 clients: memory after all of them over memory after 500."""
    with stand.featsvc("up", "--profile=demo") as server:
        processes = {"gateway": psutil.Process(server.process.pid), "worker": worker_of(server)}
        samples: dict[str, list[float]] = {name: [] for name in processes}
        for _ in range(ROUNDS):
            first = stand.fresh()
            for ask, args, count in MIX:
                spec = {"clients": min(8, count), "count": count, "distinct": count, "first": first}
                stand.grpc(server, ask, args, **spec)
            for name, process in processes.items():
                samples[name].append(process.memory_full_info().uss / MIB)
    return [
        _of_rounds(f"memory_{name}", f"mixed requests: unique memory of the {name}", values)
        for name, values in samples.items()
    ]


def sizes(stand: Stand) -> list[Row]:
    """300 pictures, each of another number of patches: memory at rest after all of them over that after 100."""
    with stand.featsvc("up", "--profile=demo") as server:
        worker, values = worker_of(server), []
        for number in range(SIZES):
            columns = ROWS_OF_PATCHES + number * STEP % SIZES
            side, width = PATCH * ROWS_OF_PATCHES, PATCH * columns
            args = {"model": "demo-dino", "width": width, "height": side, "side": side}
            stand.grpc(server, "dino", args, clients=1, count=1, distinct=1, first=stand.fresh())
            if number % WARM_SIZES == WARM_SIZES - 1:
                time.sleep(REST_S)
                values.append(worker.memory_full_info().uss / MIB)
    what = "pictures of as many sizes: unique memory of the worker at rest"
    before, *_, after = values
    return [_row("memory_sizes", what, (WARM_SIZES, SIZES), (before, after), values)]


def _of_rounds(name: str, what: str, values: list[float]) -> Row:
    """Of values, one after each round: that when it is warm over the last."""
    # The least of a few, because what garbage collection has not freed yet is no growth.
    before, after = min(values[WARM_ROUNDS - 3 : WARM_ROUNDS]), min(values[-3:])
    return _row(name, what, (WARM_ROUNDS * ROUND, len(values) * ROUND), (before, after), values)


def _row(
    name: str, what: str, counts: tuple[int, int], found: tuple[float, float], values: list[float]
) -> Row:
    """Memory after so many questions, and after all of them."""
    (warm, every), (before, after) = counts, found
    first, last = f"after {warm:,}", f"after {every:,}"
    return Row(
        name,
        f"{every:,} {what} {first} over after all",
        "MiB",
        before / after,
        1 / (1 + MOST_GROWTH),
        (Side(last, after, min(values), max(values), 1), Side.of(first, [before])),
        notes=f"growth {100 * (after / before - 1):.2f} %, at most {100 * MOST_GROWTH:g} %",
        facts={"uss_mib": ", ".join(f"{value:.0f}" for value in values)},
    )
