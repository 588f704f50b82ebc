"""Ray Serve beside workers over Ray: `python -m tests.bench.serve_over_ray [--seconds N] [--repetitions N] [--warm N]`.

Both have one to two replicas, or workers, of demo-clip with one thread each, and follow the load: Ray Serve as its
documentation shows it, by @serve.batch and autoscaling_config, and asked over HTTP. Features are not computed: they
tell what it costs to hand 16 MiB on, by one worker. Each is loaded for a while before it is measured, in turns. Ray
runs in a network of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.bench.rows.frameworks import MOST_RATE, RAY_ENVIRONMENT
from tests.bench.stand import QUICK, Stand
from tests.cluster.cluster import ran_alone
from tests.servers import KEY

OURS = ("--profile=demo", "--pool=ray", "--ray-workers=1..2", "--cpus-per-worker=1")
ARGS = {"model": "demo-clip"}
BATCH = 16
LONGEST_S = 10.0
"""Of a run whose texts all differ."""
KINDS = (("text", "texts", 32), ("embed", "pictures of 192x192", 32), ("chunked", "16 MiB of features", 4))
Run = Callable[[float], dict[str, Any]]  # Any: the answer of load.run
"""Clients for so many seconds."""


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serve_over_ray", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--repetitions", type=int, default=3, help="of each run")
    parser.add_argument("--warm", type=float, default=40.0, help="seconds of load before: Serve waits for 30")
    asked = parser.parse_args()
    if (status := ran_alone("tests.bench.serve_over_ray")) is not None:
        return status
    pace = replace(QUICK, seconds=asked.seconds, repetitions=asked.repetitions)
    with Stand(pace) as stand:
        peer = stand.child("peers.ray_serve", 1, BATCH, "1..2", "features", **RAY_ENVIRONMENT)
        url = f"http://127.0.0.1:{peer.about['port']}"
        fixed = f"127.0.0.1:{stand.child('fixed_gateway', 'ray').about['port']}"
        with stand.featsvc("serve", *OURS) as server:
            print(
                "| what | clients | featsvc over Ray, gRPC | Ray Serve, HTTP | rate |\n|---|---|---|---|---|"
            )
            for ask, what, clients in KINDS:
                target = fixed if ask == "chunked" else server.target
                sides = (
                    _clients(stand, ask, clients, target=target, key=KEY),
                    _clients(stand, ask, clients, url=url),
                )
                print(f"| {what} | {clients} | {_measured(stand, sides, asked.warm)} |", flush=True)
    return 0


def _clients(stand: Stand, ask: str, clients: int, **where: str) -> Run:
    def run(seconds: float) -> dict[str, Any]:
        # featsvc knows a text that it was asked lately.
        distinct = int(MOST_RATE * min(seconds, LONGEST_S)) if ask == "text" else 64
        return stand.load.ask(
            do="run", ask=ask, args=ARGS, clients=clients, stream=ask == "chunked", seconds=seconds,
            distinct=distinct, first=stand.fresh(distinct), **where,
        )  # fmt: skip

    return run


def _measured(stand: Stand, sides: tuple[Run, ...], warm_s: float) -> str:
    for run in sides:
        run(warm_s)
    found: list[list[dict[str, Any]]] = [[] for _ in sides]
    for _ in range(stand.pace.repetitions):
        for runs, run in zip(found, sides, strict=True):
            runs.append(run(stand.pace.seconds))
    rates = [statistics.median(run["rate"] for run in runs) for runs in found]
    p50s = [statistics.median(each for run in runs for each in run["latencies"]) for runs in found]
    words = [f"{rate:,.1f}/s, {p50:.1f} ms" for rate, p50 in zip(rates, p50s, strict=True)]
    return f"{' | '.join(words)} | {rates[0] / rates[1]:.2f}"


if __name__ == "__main__":
    sys.exit(main())
