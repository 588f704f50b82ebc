"""Connections of gRPC clients: gRPC bounds how many there are, and knows no share of one address."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import defaultdict
from contextlib import suppress

from featsvc.processes import most_files
from featsvc.wrong_keys import network_of

log = logging.getLogger("featsvc.server.connections")
LOOK_S = 1.0
AGAIN_S = 0.1
"""While an address has just had more than its share: it would open as many again."""
# What this process has open, by number; on Linux that is /proc/self/fd.
OPEN_FILES = "/dev/fd"
# RFC 9113, 6.8 and 7: a frame without a stream whose payload names the last stream that was served, and why.
GOAWAY, ENHANCE_YOUR_CALM, NO_STREAM = 7, 11, 0
INTERNET = (socket.AF_INET, socket.AF_INET6)


class Connections:
    """Those of one port, of which each address may have so many; the newest of who has more are ended.

    They are ended at their sockets: gRPC takes that for clients who have gone, and has places for others.
    """

    def __init__(self, port: int, most_of_one: int, *, is_encrypted: bool) -> None:
        self._port, self._most = port, most_of_one
        self._is_encrypted = is_encrypted
        self._since: dict[int, int] = {}
        """Of each connection that was there when they were last counted, by its inode, at which count it was new."""
        self._counts = 0

    async def watch(self) -> None:
        """Looks again and again, in a thread: with thousands of connections it takes tens of milliseconds."""
        while True:
            ended = await asyncio.to_thread(self.end_surplus)
            await asyncio.sleep(AGAIN_S if ended else LOOK_S)

    def end_surplus(self) -> int:
        """Ends what an address has beyond its share; how many that were."""
        files = _open_files()
        if len(files) <= self._most:
            self._since = {}
            return 0
        of_network = defaultdict[str, list[tuple[int, int, int]]](list)
        before, self._since = self._since, {}
        self._counts += 1
        for number in files:
            if (found := self._connection(number)) is not None:
                network, inode = found
                self._since[inode] = before.get(inode, self._counts)
                of_network[network].append((self._since[inode], inode, number))
        ended = 0
        for network, its in of_network.items():
            surplus = sorted(its)[self._most :]
            ended_here = sum(self._end(number, network, inode) for _, inode, number in surplus)
            if ended_here:
                words = {"peer": network, "ended": ended_here, "open": len(its), "most": self._most}
                log.warning("an address has more connections than it may", extra=words)
            ended += ended_here
        return ended

    def _connection(self, number: int) -> tuple[str, int] | None:
        """The address and the inode of a connection of this port; None of any other file, or of one closed by now."""
        try:
            looked_at = socket.socket(fileno=number)
        except OSError:
            return None
        try:
            return self._peer(looked_at)
        finally:
            looked_at.detach()  # it stays gRPC's own

    def _peer(self, looked_at: socket.socket) -> tuple[str, int] | None:
        with suppress(OSError):
            if looked_at.family in INTERNET and looked_at.getsockname()[1] == self._port:
                return network_of(looked_at.getpeername()[0]), os.fstat(looked_at.fileno()).st_ino
        return None

    def _end(self, number: int, network: str, inode: int) -> bool:
        """Whether it was there still: a number may be another file's by now, a copy of it stays what it is."""
        try:
            copy = socket.socket(fileno=os.dup(number))
        except OSError:
            return False
        with copy:
            if self._peer(copy) != (network, inode):
                return False
            with suppress(OSError):
                if not self._is_encrypted:
                    copy.send(_farewell(self._most), socket.MSG_DONTWAIT)
                copy.shutdown(socket.SHUT_RDWR)
            return True


def _farewell(most: int) -> bytes:
    """What clients show their users."""
    words = f"one address may have {most} connections (--max-connections-per-address): use one for many calls"
    payload = struct.pack(">II", NO_STREAM, ENHANCE_YOUR_CALM) + words.encode()
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", GOAWAY, 0, NO_STREAM) + payload


def _open_files() -> list[int]:
    try:
        return [int(name) for name in os.listdir(OPEN_FILES)]
    except OSError:  # most likely all of them are in use
        return list(range(most_files() or 0))
