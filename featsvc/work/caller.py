"""Who asks. The gateway makes it of the key, before a message is received, and it goes with the call to the job."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.settings.access import KeyLimits

DEFAULT_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Caller:
    """What a key says of whoever has it."""

    name: str
    """Tells the keys apart, without being one; empty where no key was asked for."""
    roles: frozenset[str] = frozenset()
    """What it may beyond asking; so far there is nothing beyond."""
    limits: KeyLimits = DEFAULT_LIMITS


NOBODY = Caller("")
