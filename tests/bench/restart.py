"""How long a server with one worker answers nothing after that was killed: python -m tests.bench.restart [TIMES].

Two servers with the demo models, whose workers are forked from a template or are fresh interpreters, are disturbed in
turn, so that what else the machine does disturbs both.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from featsvc_client import FeatsvcClient

from tests.bench.stand import processor_seconds, worker_of
from tests.servers import KEY, Server, running

FLAGS = ("serve", "--profile=demo", "--offline", "--devices=cpu")
SIDES = {"forked": "--worker-template", "fresh": "--no-worker-template"}
TEXT = "a red circle"


def main(times: int) -> None:
    """Prints a line for each, and their ratio."""
    waits_s: dict[str, list[float]] = {name: [] for name in SIDES}
    costs_s: dict[str, list[float]] = {name: [] for name in SIDES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {
            name: stack.enter_context(running(folder / name, *FLAGS, flag)) for name, flag in SIDES.items()
        }
        for _ in range(times):
            for name, server in servers.items():
                waits_s[name].append(_answered_again(server))
                costs_s[name].append(processor_seconds(worker_of(server)))
    for name in SIDES:
        wait_s, cost_s = statistics.median(waits_s[name]), statistics.median(costs_s[name])
        told = f"{wait_s:.2f} s ({min(waits_s[name]):.2f} to {max(waits_s[name]):.2f})"
        print(f"{name}: answered again after {told}, {cost_s:.2f} s of processor time of the worker")
    fresh, forked = (statistics.median(waits_s[name]) for name in ("fresh", "forked"))
    print(f"ratio {fresh / forked:.1f}")


def _answered_again(server: Server) -> float:
    """Seconds from the end of its worker to the next answer about a text."""
    with FeatsvcClient(server.target, api_key=KEY) as client:
        client.encode_text(TEXT)
        began = time.monotonic()
        worker_of(server).kill()
        client.encode_text(TEXT)
        return time.monotonic() - began


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
