"""What it costs a small call to be counted, traced and timed: `python -m tests.bench.watching [--quick]`.

The same texts to gateways without a worker, which have nothing but that to do, in turns: one that nobody watches, and
others that are watched. What is compared is the gateway's processor time for a call, which decides how many it can
answer; what else runs on the machine disturbs that less than it does rates. A ratio of 1 is no cost.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import psutil

from featsvc.codec.timing import HEADER, WANTED
from tests.bench.children import Child
from tests.bench.stand import FULL, QUICK, Stand, processor_seconds
from tests.servers import KEY

CLIENTS, CALLS = 32, 4000
ARGS = {"model": "demo-clip"}


def main(is_quick: bool) -> None:
    """Prints a line for each."""
    with Stand(QUICK if is_quick else FULL) as stand:
        plain = stand.child("probed", stand.threads, "--instant")
        endpoint = f"http://127.0.0.1:{stand.child('collector').about['port']}"
        # Of the requests one of a hundred is traced, as by default.
        flags = {
            "metrics": ("--metrics",),
            "traces": (endpoint,),
            "metrics and traces": ("--metrics", endpoint),
        }
        watched = {
            name: stand.child("probed", stand.threads, "--instant", *each) for name, each in flags.items()
        }

        def cost_us(server: Child, **metadata: str) -> Callable[[], float]:
            process = psutil.Process(server.process.pid)
            target, more = (
                f"127.0.0.1:{server.about['port']}",
                {"ask": "text", "args": ARGS, "metadata": metadata},
            )

            def measure() -> float:
                before = processor_seconds(process)
                stand.load.ask(
                    do="run", target=target, key=KEY, first=0, clients=CLIENTS, count=CALLS, **more
                )
                return 1e6 * (processor_seconds(process) - before) / CALLS

            return measure

        unwatched, *sides = stand.alternated(
            ("off", cost_us(plain)),
            *((name, cost_us(server)) for name, server in watched.items()),
            ("timing asked for", cost_us(plain, **{HEADER: WANTED})),
            repetitions=4 * stand.pace.repetitions,
        )
        print(
            f"off: {unwatched.median:.1f} us of processor time a call ({unwatched.low:.1f} to {unwatched.high:.1f})"
        )
        for side in sides:
            told = f"{side.median:.1f} us ({side.low:.1f} to {side.high:.1f})"
            print(f"{side.name}: {told}, ratio {unwatched.median / side.median:.3f}")


if __name__ == "__main__":
    main("--quick" in sys.argv)
