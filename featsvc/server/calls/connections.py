"""Connections of gRPC clients: gRPC turns away whoever comes when there are as many as may be, whoever has them.

So before that those give way whose address has most, and there is a place for whoever has fewer.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import struct
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from featsvc.wrong_keys import network_of

log = logging.getLogger("featsvc.server.connections")
LOOK_S = 1.0
AGAIN_S = 0.1
"""While some have just been ended: who had them may open as many again."""
TELL_S = 10.0
FULL, LEFT = 7 / 8, 1 / 2
"""When so much of the places is taken, those give way who have most, until so much is."""
# What this process has open, by number; on Linux that is /proc/self/fd.
OPEN_FILES = "/dev/fd"
# RFC 9113, 6.8 and 7: a frame without a stream; its payload names the last stream that may have been served, and why.
GOAWAY, ENHANCE_YOUR_CALM, NO_STREAM, LAST_STREAM = 7, 11, 0, 2**31 - 1
SIOCOUTQNSD = 0x894B  # linux/sockios.h: bytes that are not sent yet; elsewhere nothing is said
INTERNET = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, order=True)
class Open:
    """A connection that is open; the oldest is the least."""

    since: int
    """At which count it was new."""
    inode: int
    number: int
    """Its descriptor."""


class Connections:
    """Those of one port. Where it is nearly full, the newest of the addresses that have most are ended.

    They are ended at their sockets: gRPC takes that for clients who have gone, and has places for others.
    """

    def __init__(self, port: int, most: int, *, is_encrypted: bool) -> None:
        self._port, self._most = port, most
        self._is_encrypted = is_encrypted
        self._since: dict[int, int] = {}
        """Of each connection that was there when they were last counted, by its inode, at which count it was new."""
        self._counts = 0
        self._told_at = -TELL_S

    async def watch(self) -> None:
        """Looks again and again, in a thread: with thousands of connections it takes tens of milliseconds."""
        while True:
            ended = 0
            try:
                ended = await asyncio.to_thread(self.make_room)
            except Exception as error:  # whatever it is: there must be room later too
                self._tell("connections could not be counted", {"reason": repr(error)})
            await asyncio.sleep(AGAIN_S if ended else LOOK_S)

    def make_room(self) -> int:
        """Ends what others must have the places of; how many that were. Raises OSError where nothing can be opened."""
        files = os.listdir(OPEN_FILES)
        if len(files) <= FULL * self._most:
            self._since = {}
            return 0
        of_address = self._counted(map(int, files))
        if sum(map(len, of_address.values())) <= FULL * self._most:
            return 0
        share = _share(tuple(map(len, of_address.values())), round(LEFT * self._most))
        ended = 0
        for address, its in of_address.items():
            ended += sum(self._end(each, address, share) for each in sorted(its)[share:])
        if ended:
            address, its = max(of_address.items(), key=lambda each: len(each[1]))
            words = {
                "ended": ended,
                "of_each_address": share,
                "most": self._most,
                "peer": address,
                "peers": len(its),
            }
            self._tell("connections are ended, because there is hardly a place for others", words)
        return ended

    def _counted(self, numbers: Iterable[int]) -> dict[str, list[Open]]:
        """The connections of the port by address."""
        before, self._since = self._since, {}
        self._counts += 1
        of_address = defaultdict[str, list[Open]](list)
        for number in numbers:
            if (found := self._connection(number)) is not None:
                address, inode = found
                since = self._since[inode] = before.get(inode, self._counts)
                of_address[address].append(Open(since, inode, number))
        return of_address

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

    def _end(self, each: Open, address: str, share: int) -> bool:
        """Whether it was there still: its number may be another file's by now, and a copy stays what it is."""
        with suppress(OSError):
            copy = os.dup(each.number)
            try:
                held = socket.socket(fileno=copy)
            except OSError:
                os.close(copy)
                return False
            with held:
                if self._peer(held) == (address, each.inode):
                    if not self._is_encrypted:
                        _say(held, f"--max-connections: only {share} are left to an address for now")
                    held.shutdown(socket.SHUT_RDWR)
                    return True
        return False

    def _tell(self, what: str, words: dict[str, object]) -> None:
        if time.monotonic() - self._told_at >= TELL_S:
            self._told_at = time.monotonic()
            log.warning(what, extra=words)


def _share(counts: tuple[int, ...], room: int) -> int:
    """The largest that each may have, to a tenth, so that there is room for all; at least one."""
    share = max(counts)
    while share > 1 and sum(min(count, share) for count in counts) > room:
        share = share * 9 // 10
    return share


def _say(held: socket.socket, words: str) -> None:
    """What clients show their users, where nothing that gRPC has begun to write can be torn apart by it."""
    payload = struct.pack(">II", LAST_STREAM, ENHANCE_YOUR_CALM) + words.encode()
    frame = struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", GOAWAY, 0, NO_STREAM) + payload
    with suppress(OSError):
        if not int.from_bytes(fcntl.ioctl(held, SIOCOUTQNSD, bytes(4)), sys.byteorder):
            held.send(frame, socket.MSG_DONTWAIT)
