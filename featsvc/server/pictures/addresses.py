"""Which addresses a picture may be fetched from."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
# Forms of IPv6 that carry an IPv4 address, which is the one that is reached (RFC 6052, RFC 3056, RFC 4380).
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# All that is assigned for global use (RFC 4291), without what later documents took out of it (RFC 3849, RFC 9637):
# Python's own list depends on its version and leaves out some, site-local addresses among them.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
DOCUMENTATION = tuple(map(ipaddress.ip_network, ("2001:db8::/32", "3fff::/20")))


@dataclass(frozen=True)
class Allowed:
    """Hosts and networks that may be fetched from although they are not public."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPNetwork, ...] = ()

    @classmethod
    def of(cls, entries: tuple[str, ...]) -> Allowed:
        """From `--url-allow`: each entry is a network such as 10.1.0.0/16, an address, or a host name."""
        hosts, networks = set(), []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                hosts.add(entry.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def permits(self, host: str, address: IPAddress) -> bool:
        """Whether `address`, which `host` resolved to, may be connected to."""
        # An IPv4 address in IPv6's clothes: the system connects to the same host.
        plain = getattr(address, "ipv4_mapped", None) or address
        if host.lower().rstrip(".") in self.hosts or any(
            each in network for network in self.networks for each in (address, plain)
        ):
            return True
        return is_public(address)


def is_public(address: IPAddress) -> bool:
    """Whether the address is one of the public internet; what it carries inside is judged too."""
    inner = _inner(address)
    if inner is not None and inner != address:
        return is_public(inner)
    if address.version == 6 and (
        address not in GLOBAL_UNICAST or any(address in network for network in DOCUMENTATION)
    ):
        return False
    # is_global leaves multicast in and some reserved ranges out.
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: IPAddress) -> IPAddress | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
