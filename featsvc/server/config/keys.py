"""API keys: which there are, and whether a caller has one."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from pathlib import Path

from featsvc.errors import InvalidArgument, Unauthenticated
from featsvc.settings.access import DEFAULT_KEY, KeyLimits
from featsvc.settings.sources import check_own_key
from featsvc.settings.tree import Settings
from featsvc.work.caller import OWNER, Caller


class ApiKeys:
    """The keys of the server, kept as digests so that comparing takes the same time whatever their length."""

    def __init__(self, keys: tuple[str, ...], limits: KeyLimits) -> None:
        self._digests = tuple(_digest(key) for key in keys)
        self._callers = tuple(Caller(f"key {number}", OWNER, limits=limits) for number in range(len(keys)))
        # The same few headers come again and again; those that are refused are not kept.
        self._cached = lru_cache(maxsize=256)(self._caller)

    def caller(self, authorization: str) -> Caller:
        """Who has the key. Raises Unauthenticated unless the header is `Bearer` and one of the keys."""
        return self._cached(authorization)

    def _caller(self, authorization: str) -> Caller:
        scheme, _, key = authorization.partition(" ")
        digest = _digest(key.strip())
        # Every key is compared, so that time does not tell which one was nearly right.
        matches = [hmac.compare_digest(digest, each) for each in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthenticated("API key missing or wrong: send 'authorization: Bearer KEY'")
        return self._callers[matches.index(True)]


def keys_in_force(settings: Settings) -> tuple[str, ...]:
    """The keys of flag, environment and files. Raises InvalidArgument for an open host with the default key."""
    keys = settings.api_key
    if settings.api_key_file:
        keys += _file_keys(Path(settings.api_key_file))
    if any(not (key.isascii() and key.isprintable()) for key in keys):
        raise InvalidArgument(
            "api_key: a key has characters that no header carries: take printable ASCII only"
        )
    check_own_key(settings)
    return keys or (DEFAULT_KEY,)


def _file_keys(path: Path) -> tuple[str, ...]:
    try:
        # Editors on Windows put a mark before the first key, which would belong to it.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
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
