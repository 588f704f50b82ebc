"""What workers over Ray cost beside local ones: `python -m tests.bench.over_ray`; `--help` shows its flags.

One worker with one thread on each side, with the demo models and the same questions, in turns. The features are not
computed: they tell what it costs to hand 16 MiB on. Ray runs in a network of its own; with `--apart` the worker is on
another node of it than the gateway. Processor times are those of an answer, of the gateway and of the worker.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from featsvc_client import FeatsvcClient

from tests.bench.stand import QUICK, Stand, processor_seconds
from tests.cluster.cluster import Cluster, ran_alone
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
COMPUTED = (
    Load("a text", "text", TEXT, 1),
    Load("texts", "text", TEXT, 32),
    Load("a click on a picture that the worker knows", "click", CLICK, 1),
    Load("clicks on it", "click", CLICK, 8),
)
FIXED = (
    Load("16 MiB of features", "chunked", TEXT, 1, is_fixed=True),
    Load("the same", "chunked", TEXT, 4, is_fixed=True),
)


@dataclass(frozen=True)
class Side:
    """A gateway and its worker."""

    target: str
    gateway: psutil.Process
    worker: psutil.Process

    @classmethod
    def of(cls, gateway: int, port: int) -> Side:
        """The gateway that is this process and has this port."""
        target = f"127.0.0.1:{port}"
        with FeatsvcClient(target, api_key=KEY) as client:
            (worker,) = client.status().workers
        return cls(target, psutil.Process(gateway), psutil.Process(worker.pid))

    def processor_seconds(self) -> tuple[float, float]:
        """Used so far, by the gateway and by the worker."""
        return processor_seconds(self.gateway), processor_seconds(self.worker)


@dataclass(frozen=True)
class Run:
    """What a run of a load at a side has shown."""

    rate: float
    ms: float
    """The median from question to answer."""
    processor_ms: tuple[float, float]
    """Of an answer: the gateway's and the worker's."""


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.over_ray", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--repetitions", type=int, default=3, help="of each run")
    parser.add_argument(
        "--apart", action="store_true", help="have the worker on another node than the gateway"
    )
    parser.add_argument("--features", action="store_true", help="the features alone")
    asked = parser.parse_args()
    if (status := ran_alone("tests.bench.over_ray")) is not None:
        return status
    pace = replace(QUICK, seconds=asked.seconds, repetitions=asked.repetitions)
    with _cluster(asked.apart) as address, Stand(pace) as stand:
        print(
            "| load | clients | local | over Ray | more a call | rate | processor: local | over Ray |\n"
            "|---|---|---|---|---|---|---|---|"
        )
        for start, loads in ((_demo, COMPUTED), (_fixed, FIXED))[asked.features :]:
            with start(stand, address) as sides:
                for load in loads:
                    print(_row(stand, load, sides), flush=True)
    return 0


@contextmanager
def _cluster(apart: bool) -> Iterator[str]:
    """The address of a cluster whose first node takes no workers; without one each gateway starts its own."""
    if not apart:
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        os.environ.update(cluster.environment)
        cluster.start(1, cpus=0)
        cluster.start(2, cpus=2)
        yield cluster.address


@contextmanager
def _demo(stand: Stand, address: str) -> Iterator[list[Side]]:
    """With the demo models; first a local worker, then one over Ray."""
    flags = ("serve", "--profile=demo")
    with stand.featsvc(*flags) as local, stand.featsvc(*flags, *OVER_RAY, f"--ray-address={address}") as ray:
        yield [Side.of(each.process.pid, each.grpc_port) for each in (local, ray)]


@contextmanager
def _fixed(stand: Stand, address: str) -> Iterator[list[Side]]:
    """With workers that answer features at once; in the same order."""
    gateways = stand.child("fixed_gateway", "local"), stand.child("fixed_gateway", "ray", address)
    yield [Side.of(each.process.pid, int(each.about["port"])) for each in gateways]


def _row(stand: Stand, load: Load, sides: list[Side]) -> str:
    runs: tuple[list[Run], ...] = ([], [])
    for _ in range(stand.pace.repetitions):
        for side, of_side in zip(sides, runs, strict=True):
            of_side.append(_run(stand, load, side))
    local, over_ray = (_all(of_side) for of_side in runs)
    words = [f"{each.rate:,.1f}/s, {each.ms:.1f} ms" for each in (local, over_ray)]
    words += [f"{over_ray.ms - local.ms:.1f} ms", f"{over_ray.rate / local.rate:.2f}"]
    words += ["{:.1f} + {:.1f} ms".format(*each.processor_ms) for each in (local, over_ray)]
    return f"| {load.name} | {load.clients} | {' | '.join(words)} |"


def _run(stand: Stand, load: Load, side: Side) -> Run:
    asked = {
        "do": "run", "target": side.target, "key": KEY, "ask": load.ask, "args": load.args,
        "clients": load.clients, "stream": load.is_fixed,
    }  # fmt: skip
    stand.load.ask(**asked, count=2 * load.clients, first=stand.fresh())  # warm
    before = side.processor_seconds()
    told = stand.load.ask(**asked, seconds=stand.pace.seconds, first=stand.fresh())
    used = [1000 * (now - then) for now, then in zip(side.processor_seconds(), before, strict=True)]
    count = len(told["latencies"])
    return Run(told["rate"], statistics.median(told["latencies"]), (used[0] / count, used[1] / count))


def _all(runs: list[Run]) -> Run:
    """The median of each figure."""
    gateway, worker = zip(*(each.processor_ms for each in runs), strict=True)
    return Run(
        statistics.median(each.rate for each in runs),
        statistics.median(each.ms for each in runs),
        (statistics.median(gateway), statistics.median(worker)),
    )


if __name__ == "__main__":
    sys.exit(main())
