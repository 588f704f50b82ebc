"""Settings of who reaches the server, by what key, and what each key may have of what all share."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from featsvc.settings.kinds import MIB, Common, Count, Natural, Room, Seconds, Share, Size, WordList

DEFAULT_KEY = "smfeats"
SECRETS = frozenset({"api_key", "status_key"})
"""Settings that nobody is shown, and that go from process to process by the environment."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where it listens."""

    host: Common[str] = "127.0.0.1"
    """Address to listen on; anything but loopback needs an API key of your own."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address; a name other than localhost counts as open."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def host_in_url(self) -> str:
        """The address as a URL has it, and gRPC: one of IPv6 in brackets."""
        return f"[{bare}]" if ":" in (bare := self.host.strip("[]")) else bare

    @property
    def reachable_host(self) -> str:
        """Where programs of this machine reach what listens on it, as a URL has it."""
        return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(self.host_in_url, self.host_in_url)


@dataclass(frozen=True, kw_only=True)
class Tls:
    """TLS."""

    tls_cert: Common[str] = ""
    """PEM file of the server's certificate, and of those between it and its authority; gRPC and REST then use TLS."""
    tls_key: Common[str] = ""
    """PEM file of the certificate's private key, where it is not in the same file."""
    tls_client_ca: str = ""
    """PEM file of authorities; callers must then show a certificate from one of them."""


@dataclass(frozen=True, kw_only=True)
class GatewayAddress:
    """Gateway."""

    grpc_target: str = ""
    """Gateway to talk to as host:port; without it one is started."""
    grpc_shown_port: Natural = 0
    """Port of the gRPC server as examples of the page name it; 0 takes that of grpc_target."""
    grpc_tls_ca: str = ""
    """PEM file of the authorities that the gateway's certificate must come from; the ports then ask it by TLS."""
    grpc_tls_cert: str = ""
    """PEM file of the certificate to show to a gateway that has --tls-client-ca."""
    grpc_tls_key: str = ""
    """PEM file of that certificate's private key."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """API keys."""

    api_key: Common[WordList] = field(default=(), repr=False)
    """Keys that callers may use, separated by commas; each may all. Where there is none, and no file of keys, smfeats
    on this machine. Others see a command line: FEATSVC_API_KEY is safer."""
    api_key_file: Common[str] = ""
    """File of further keys, read again when it changes: TOML, as `featsvc keys new` writes it, or a key a line."""
    status_key: str = field(default="", repr=False)
    """Key that is good for GetStatus alone: the REST ports ask by it for what /health shows."""
    max_wrong_keys: Count = 10
    """Wrong keys that one address may send in a minute; the answers to further ones wait."""
    wrong_key_delay: Seconds = 1.0
    """Seconds that such an answer waits, at 16 for one address at once; right keys never wait."""


@dataclass(frozen=True, kw_only=True)
class KeyLimits:
    """What one API key may have of what all share. The file of keys may give each limits of its own."""

    image_cache_per_key: Room = 64 * MIB
    """Bytes of the pictures that the server keeps of a key, for questions by digest; 0 keeps none."""
    url_max_fetches_per_key: Count = 32
    """Most pictures that are fetched for a key at once by address; further ones wait."""
    url_max_bytes_per_key: Size = 128 * MIB
    """Most bytes of the pictures that are being fetched for a key, and of those that are on their way to it."""
    weight: Share = 1.0
    """A key's share of the devices beside others that wait, in proportion: one of 2 gets twice as much as one of 1."""
    max_queue_per_key: Natural = 0
    """Most requests of a key that wait; 0 for as many as max_queue, of which it gives way to keys that have less."""
    max_queue_bytes_per_key: Room = 0
    """Most bytes of a key's requests that wait; 0 for as many as max_queue_bytes, in the same way."""
    max_calls_per_key: Natural = 0
    """Most calls of a key that are open; 0 for as many as max_calls, in the same way."""
    worker_seconds_per_key: Seconds = 0.0
    """Seconds of workers that the requests of a key may take in a minute; 0 for no limit."""
