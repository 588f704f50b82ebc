"""All connections of one port: how many there may be, and that none stays longer than it may."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

# What is left in the buffers of a closed connection must go within this time.
CLOSING_S = 10.0
# So many of those for whom there was no place may still be reading that; they count for nothing else.
MOST_TURNED_AWAY = 64
# A megabyte, the largest piece of a reply, must go within this time: 140 kbit a second.
SENDING_S = 60.0


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may hold, how long it may take, and how many there may be."""

    header_bytes: int = 64 * 1024
    """Of a request's line and headers together, of its trailers, and between two pieces of a body."""
    header_timeout: float = 20.0
    keep_alive: float = 75.0
    drained_bytes: int = 64 * 1024 * 1024
    """Read and thrown away of a body whose request is answered already."""
    connections: int = 1024
    connections_per_peer: int = 512


class Abortable(Protocol):
    """What ends a connection."""

    def abort(self) -> None:
        """Ends it at once."""


class Member(Protocol):
    """A connection as the crowd sees it."""

    peer: str

    @property
    def transport(self) -> Abortable:
        """What it goes over."""

    @property
    def is_known(self) -> bool:
        """Whether it has asked anything yet."""

    @property
    def idle_since(self) -> float | None:
        """When it began to wait for a request, if it does."""

    def check(self, now: float) -> None:
        """Ends it where it has taken too long."""


class Crowd:
    """The open connections of a port."""

    def __init__(self, limits: ConnectionLimits, refused: Counter[int] | None = None) -> None:
        """`refused` counts what connections refuse, by status."""
        self.limits = limits
        self.refused = Counter[int]() if refused is None else refused
        self._open: set[Member] = set()
        self._peers: Counter[str] = Counter()
        self._turned_away: dict[Member, None] = {}
        """Oldest first."""

    def join(self, member: Member) -> bool:
        """Whether there is place for one more; where there is none, one that waits for nothing yet gives its own."""
        limits = self.limits
        if self._peers[member.peer] >= limits.connections_per_peer:
            place = self._made([each for each in self._open if each.peer == member.peer])
        elif len(self._open) >= limits.connections:
            place = self._made(self._open)
        else:
            place = True
        if place:
            self._open.add(member)
            self._peers[member.peer] += 1
        else:
            self._turned_away[member] = None
            if len(self._turned_away) > min(MOST_TURNED_AWAY, max(1, self.limits.connections // 4)):
                oldest = next(iter(self._turned_away))
                del self._turned_away[oldest]
                oldest.transport.abort()
        return place

    def refusal(self, member: Member) -> str:
        """What a connection is told that finds no place."""
        limits = self.limits
        return (
            f"{len(self._open)} connections are open, at most {limits.connections} (--rest-connections), "
            f"{self._peers[member.peer]} of them from this address, at most {limits.connections_per_peer}: try again"
        )

    def leave(self, member: Member) -> None:
        """Forgets a connection that is closed."""
        self._turned_away.pop(member, None)
        if member in self._open:
            self._open.discard(member)
            self._peers[member.peer] -= 1
            if not self._peers[member.peer]:
                del self._peers[member.peer]

    def check(self, now: float) -> None:
        """Ends what has taken too long."""
        for each in (*self._open, *self._turned_away):
            each.check(now)

    def _made(self, among: set[Member] | list[Member]) -> bool:
        """Closes the connection that has been idle for longest, silent ones first; False where none is."""
        idle = [
            (each.is_known, each.idle_since, number, each)
            for number, each in enumerate(among)
            if each.idle_since is not None
        ]
        if not idle:
            return False
        *_, member = min(idle)
        member.transport.abort()
        self.leave(member)
        return True
