"""One of several shim processes: its parent hands it settings and listening sockets, and is gone when stdin ends."""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import uvloop

from featsvc.children import at_work, beat, stop_signal
from featsvc.logs import setup
from featsvc.processes import give_large_blocks_back
from rest_shim.processes.serving import serve
from rest_shim.processes.settings import RunnerSettings


@dataclass(frozen=True)
class Orders:
    """What a worker is told, as a pickle on its standard input."""

    settings: RunnerSettings
    target: str
    descriptors: Mapping[str, int]
    """File descriptor of the listening socket of each family."""


async def work(orders: Orders) -> None:
    """Serves until a signal, or until the parent is gone."""
    stop = stop_signal(end_with_stdin=True)
    sockets = {family: socket.socket(fileno=number) for family, number in orders.descriptors.items()}
    async with at_work(beat()):
        await serve(orders.settings, orders.target, sockets, stop)


if __name__ == "__main__":
    give_large_blocks_back()
    given: Orders = pickle.load(sys.stdin.buffer)
    setup(given.settings.log_level, given.settings.log_format)
    uvloop.run(work(given))
