"""Memory of gateway and worker over many mixed requests."""

from __future__ import annotations

from typing import Any

import psutil

from tests.bench.figures import Row, Side
from tests.bench.stand import Stand, worker_of

MIB = 1 << 20
ROUND = 50
WARM_ROUNDS, ROUNDS = 10, 40
MOST_GROWTH = 0.02
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
    rows = []
    for name, values in samples.items():
        # The least of a few, because what garbage collection has not freed yet is no growth.
        before, after = min(values[WARM_ROUNDS - 3 : WARM_ROUNDS]), min(values[-3:])
        rows.append(
            Row(
                f"memory_{name}",
                f"2,000 mixed requests: unique memory of the {name} after 500 over after all",
                "MiB",
                before / after,
                1 / (1 + MOST_GROWTH),
                (Side("after 2,000", after, min(values), max(values), 1), Side.of("after 500", [before])),
                notes=f"growth {100 * (after / before - 1):.2f} %, at most {100 * MOST_GROWTH:g} %",
                facts={"uss_mib": ", ".join(f"{value:.0f}" for value in values)},
            )
        )
    return rows
