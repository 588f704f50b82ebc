"""Wrong keys: how many came from where lately, and how long the answers to further ones wait.

Only answers to wrong keys wait, so this costs nobody who has a right one, be it behind the same address. For the same
reason it does not keep anybody from guessing with many calls at once: that a key has 256 random bits does. What it
stops is a program that asks with a wrong key in a loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict
from functools import lru_cache

WINDOW_S = 60.0
MOST_ADDRESSES = 4096
# An answer that waits holds a call or a connection.
MOST_WAITING, MOST_WAITING_OF_ONE = 256, 16
# Who has one address of IPv6 has as many as this leaves.
NETWORK_BITS = 64


class WrongKeys:
    """How many wrong keys came from each address within a minute."""

    def __init__(self, most: int = 10, delay_s: float = 1.0) -> None:
        self._most = most
        self._delay_s = delay_s
        self._came: OrderedDict[str, tuple[float, int]] = OrderedDict()  # since when, and how many
        self._waiting: Counter[str] = Counter()

    async def came(self, address: str) -> None:
        """Counts a wrong key; waits where too many have come from there already."""
        now = time.monotonic()
        since, count = self._came.get(address, (now, 0))
        if now - since >= WINDOW_S:
            since, count = now, 0
        self._came[address] = since, count + 1
        self._came.move_to_end(address)
        if len(self._came) > MOST_ADDRESSES:
            self._came.popitem(last=False)
        if count < self._most or self._waiting[address] >= MOST_WAITING_OF_ONE:
            return
        if self._waiting.total() >= MOST_WAITING:
            return
        self._waiting[address] += 1
        try:
            await asyncio.sleep(self._delay_s)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]


# The same few callers come again and again.
@lru_cache(maxsize=256)
def network_of(host: str) -> str:
    """The address, or of IPv6 the network that one customer has; empty where it is no address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, NETWORK_BITS), strict=False))
