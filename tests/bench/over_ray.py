"""What workers over Ray cost beside local ones: `python -m tests.bench.over_ray [--seconds N] [--repetitions N]`.

One worker with one thread on each side, with the demo models and the same questions, in turns. The features are not
computed: they tell what it costs to hand 16 MiB on. Ray runs in a network of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass, replace
from typing import Any

from tests.bench.stand import QUICK, Stand
from tests.cluster.cluster import ran_alone
from tests.servers import KEY

OVER_RAY = ("--pool=ray", "--ray-workers=1", "--cpus-per-worker=1")


@dataclass(frozen=True)
class Load:
    """What is asked, by how many clients."""

    name: str
    ask: str
    args: dict[str, Any]
    clients: int
    is_fixed: bool = False
    """Whether workers answer what they were made with."""


TEXT, CLICK = {"model": "demo-clip"}, {"model": "demo-sam2", "variants": 1, "width": 640, "height": 480}
LOADS = (
    Load("a text", "text", TEXT, 1),
    Load("texts", "text", TEXT, 32),
    Load("a click on a picture that the worker knows", "click", CLICK, 1),
    Load("clicks on it", "click", CLICK, 8),
    Load("16 MiB of features", "chunked", TEXT, 1, is_fixed=True),
    Load("the same", "chunked", TEXT, 4, is_fixed=True),
)


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.over_ray", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--repetitions", type=int, default=3, help="of each run")
    asked = parser.parse_args()
    if (status := ran_alone("tests.bench.over_ray")) is not None:
        return status
    pace = replace(QUICK, seconds=asked.seconds, repetitions=asked.repetitions)
    with (
        Stand(pace) as stand,
        stand.featsvc("serve", "--profile=demo") as local,
        stand.featsvc("serve", "--profile=demo", *OVER_RAY) as over_ray,
    ):
        demo = [local.grpc_port, over_ray.grpc_port]
        fixed = [int(stand.child("fixed_gateway", pool).about["port"]) for pool in ("local", "ray")]
        print("| load | clients | local | over Ray | more a call | rate |\n|---|---|---|---|---|---|")
        for load in LOADS:
            print(_row(stand, load, fixed if load.is_fixed else demo), flush=True)
    return 0


def _row(stand: Stand, load: Load, ports: list[int]) -> str:
    sides: tuple[list[dict[str, Any]], ...] = ([], [])
    for _ in range(stand.pace.repetitions):
        for side, port in zip(sides, ports, strict=True):
            side.append(
                stand.load.ask(
                    do="run", target=f"127.0.0.1:{port}", key=KEY, ask=load.ask, args=load.args,
                    clients=load.clients, stream=load.is_fixed, seconds=stand.pace.seconds,
                    warm=2 * load.clients, first=stand.fresh(),
                )
            )  # fmt: skip
    ms = [statistics.median(each for run in side for each in run["latencies"]) for side in sides]
    rates = [statistics.median(run["rate"] for run in side) for side in sides]
    words = [f"{rate:,.1f}/s, {each:.1f} ms" for rate, each in zip(rates, ms, strict=True)]
    words += [f"{ms[1] - ms[0]:.1f} ms", f"{rates[1] / rates[0]:.2f}"]
    return f"| {load.name} | {load.clients} | {' | '.join(words)} |"


if __name__ == "__main__":
    sys.exit(main())
