"""API keys: which there are, and whether a caller has one."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from functools import lru_cache
from pathlib import Path

from featsvc.errors import InvalidArgument, Unauthenticated
from featsvc.server.settings import DEFAULT_KEY
from featsvc.server.sources import Configuration


class Keys:
    """The keys of the server, kept as digests so that comparing takes the same time whatever their length."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._digests = tuple(_digest(key) for key in keys)
        # The same few headers come again and again; those that are refused are not kept.
        self._known = lru_cache(maxsize=256)(self._caller)

    def check(self, authorization: str) -> str:
        """What tells this caller's key from the others', without being it.

        Raises Unauthenticated unless the header is `Bearer` and one of the keys.
        """
        return self._known(authorization)

    def _caller(self, authorization: str) -> str:
        scheme, _, key = authorization.partition(" ")
        given = _digest(key.strip())
        # Every key is compared, so that time does not tell which one was nearly right.
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthenticated("API key missing or wrong: send 'authorization: Bearer KEY'")
        return f"key {matches.index(True)}"


def keys_in_force(configuration: Configuration) -> tuple[str, ...]:
    """The keys of flag, environment and files. Raises InvalidArgument for an open host with the default key."""
    settings = configuration.settings
    given = settings.api_key if configuration.origins["api_key"] != "default" else ()
    if settings.api_key_file:
        given += _file_keys(Path(settings.api_key_file))
    if given:
        return given
    if not is_loopback(settings.host):
        raise InvalidArgument(
            f"host {settings.host} is open to others and the API key is the documented default: set one of your own by "
            "--api-key KEY, FEATSVC_API_KEY or --api-key-file FILE"
        )
    return (DEFAULT_KEY,)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address; a name other than localhost counts as open."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _file_keys(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InvalidArgument(f"api_key_file: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"api_key_file: {path} is no UTF-8 text") from None
    stripped = (line.strip() for line in lines)
    keys = tuple(line for line in stripped if line and not line.startswith("#"))
    if not keys:
        raise InvalidArgument(f"api_key_file: {path} holds no key")
    return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
