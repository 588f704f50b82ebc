"""The keys of the server: who has which, while a file of them may change."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from featsvc.errors import InvalidArgument, Unauthenticated
from featsvc.logs import AUDIT
from featsvc.server.keys.key_file import Callers, KeyFile, hash_of, is_sendable, mark_of
from featsvc.settings.access import DEFAULT_KEY, KeyLimits
from featsvc.settings.sources import check_own_key, part
from featsvc.settings.tree import GatewaySettings
from featsvc.work.caller import OWNER, Caller

log = logging.getLogger("featsvc.server.keys")
audit = logging.getLogger(AUDIT)
# A change counts when two looks have seen the same: whoever writes the file may be in the middle of it. Where each look
# sees another, it counts at the third: a key that is taken out ends within a second, whatever else touches the file.
LOOK_S = 0.25
MOST_LOOKS = 3
# After what nobody foresaw, such as no thread to read the file in: soon enough, and not a line of log at every look.
AGAIN_S = 2.0
STATUS_KEY = "status key"
"""What the caller is called that has it: no name of a file has a space."""
Look: TypeAlias = tuple[int, ...] | None
"""What tells one state of a file from the next; None where there is no file."""


class ApiKeys:
    """The keys of the server, of which it keeps the hashes.

    A key is looked up by its hash. How long that takes tells nothing of the keys, for nobody can choose how the hash of
    what he sends begins.
    """

    def __init__(
        self, keys: Collection[str], limits: KeyLimits, status_key: str = "", file: KeyFile | None = None
    ) -> None:
        """Raises InvalidArgument where the file cannot be read, or is wrong."""
        self._own = {
            hash_of(key): Caller(f"key {number}", OWNER, limits=limits) for number, key in enumerate(keys)
        }
        if status_key:
            self._own.setdefault(hash_of(status_key), Caller(STATUS_KEY, frozenset({"status"})))
        self._file = file
        # Before it is read: what changes meanwhile is read again.
        self._used = _look(file.path) if file else None
        self._callers: Callers = {**(file.read() if file else {}), **self._own}
        if not self._callers:
            raise InvalidArgument("api_key_file holds no key: `featsvc keys new NAME` makes one")
        # The same few headers come again and again; those that are refused are not kept.
        self._cached = lru_cache(maxsize=256)(self._caller)

    def __len__(self) -> int:
        return len(self._callers)

    @property
    def names(self) -> frozenset[str]:
        """Of all who have a key."""
        return _names(self._callers)

    @property
    def is_documented(self) -> bool:
        """Whether the documented key is good."""
        return hash_of(DEFAULT_KEY) in self._callers

    def caller(self, authorization: str) -> Caller:
        """Who has the key. Raises Unauthenticated unless the header is `Bearer` and one of the keys."""
        return self._cached(authorization)

    def shown(self, certificate: Iterable[str]) -> Caller | None:
        """Who has a certificate with one of these names, if anybody has."""
        found = (self._callers.get(mark_of(name)) for name in certificate)
        return next((caller for caller in found if caller is not None), None)

    def _caller(self, authorization: str) -> Caller:
        scheme, _, key = authorization.partition(" ")
        found = self._callers.get(hash_of(key.strip()))
        if found is None or scheme.lower() != "bearer":
            raise Unauthenticated("API key missing or wrong: send 'authorization: Bearer KEY'")
        return found

    async def watch(self, on_change: Callable[[frozenset[str]], None]) -> None:
        """Reads the file again when it has changed; what is wrong with it is logged, and the keys stay as they are.

        `on_change` is told the names that nobody has any more who had them: they are gone, or somebody else's.
        """
        if self._file is None:
            return
        last, changes = self._used, 0
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                now = await asyncio.to_thread(_look, self._file.path)
                changes = changes + 1 if now != self._used else 0
                if changes and (now == last or changes >= MOST_LOOKS):
                    await self._read_again(self._file, on_change)
                    self._used, changes = now, 0
                last = now
            except Exception as error:  # whatever it is: keys that are taken out later must stop all the same
                log.exception("the keys are read again soon", extra={"reason": repr(error)})
                await asyncio.sleep(AGAIN_S)

    async def _read_again(self, file: KeyFile, on_change: Callable[[frozenset[str]], None]) -> None:
        try:
            callers = await asyncio.to_thread(file.read)
        except InvalidArgument as error:
            log.error("the keys stay as they were", extra={"reason": error.message})
            return
        before, self._callers = self._callers, {**callers, **self._own}
        self._cached.cache_clear()
        gone = _names(before) - _names(self._callers)
        changed = {caller.name for hashed, caller in self._callers.items() if before.get(hashed) != caller}
        if gone or changed:
            audit.info("keys changed", extra={"taken_out": sorted(gone), "new_or_changed": sorted(changed)})
        else:
            audit.info("keys read again, none changed")
        # Even then: what failed at the last look is done now.
        kept = {
            caller.name for hashed, caller in before.items() if _name(self._callers, hashed) == caller.name
        }
        on_change(_names(before) - kept)


def own_keys(settings: GatewaySettings) -> tuple[str, ...]:
    """The keys of flag and environment; the documented one where there are none, and no file.

    Raises InvalidArgument where a host that is open to others would take the documented key.
    """
    check_own_key(settings)
    if not all(map(is_sendable, settings.api_key)):
        raise InvalidArgument(
            "api_key: a key has characters that no header carries: take printable ASCII only"
        )
    return settings.api_key or (() if settings.api_key_file else (DEFAULT_KEY,))


def keys_in_force(settings: GatewaySettings, keys: Collection[str]) -> ApiKeys:
    """These keys, and those of the file and the status key in the settings. Raises InvalidArgument."""
    limits, file = part(settings, KeyLimits), None
    if settings.api_key_file:
        path = Path(settings.api_key_file)
        is_open, asks = not settings.is_loopback, bool(settings.tls_client_ca)
        file = KeyFile(path, limits, is_open=is_open, first_number=len(keys), asks_certificates=asks)
    return ApiKeys(keys, limits, settings.status_key, file)


def _look(path: Path) -> Look:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode


def _name(callers: Callers, hashed: bytes) -> str | None:
    caller = callers.get(hashed)
    return None if caller is None else caller.name


def _names(callers: Callers) -> frozenset[str]:
    return frozenset(caller.name for caller in callers.values())
