"""One of several shim processes: its parent hands it settings and listening sockets, and is gone when stdin ends."""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import uvloop

from rest_shim.logs import setup
from rest_shim.serving import serve, stop_at_end_of_stdin, stop_signal
from rest_shim.settings import Settings


@dataclass(frozen=True)
class Orders:
    """What a worker is told, as a pickle on its standard input."""

    settings: Settings
    target: str
    descriptors: Mapping[str, int]
    """File descriptor of the listening socket of each family."""


async def work(orders: Orders) -> None:
    """Serves until a signal, or until the parent is gone."""
    stop = stop_signal()
    sockets = {family: socket.socket(fileno=number) for family, number in orders.descriptors.items()}
    stop_at_end_of_stdin(stop)
    await serve(orders.settings, orders.target, sockets, stop)


if __name__ == "__main__":
    given: Orders = pickle.load(sys.stdin.buffer)
    setup(given.settings.log_level)
    uvloop.run(work(given))
