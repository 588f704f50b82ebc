"""Who asks. The gateway makes it of the key, before a message is received, and it goes with the call to the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from featsvc.settings.access import KeyLimits

DEFAULT_LIMITS = KeyLimits()
Role = Literal["infer", "status", "admin"]
"""To ask models; to see what the server does for everybody; to load and free models, drain it, and all of `status`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a key says of whoever has it."""

    name: str
    """Tells the keys apart, without being one; empty where no key was asked for."""
    roles: frozenset[Role] = frozenset()
    """What it may."""
    models: frozenset[str] = frozenset()
    """Keys of the models that it may use; empty for all."""
    limits: KeyLimits = DEFAULT_LIMITS

    def may_use(self, model: str) -> bool:
        """Whether it may use the model of this key."""
        return not self.models or model in self.models

    @property
    def is_admin(self) -> bool:
        """Whether it may load and free models, have weights downloaded, and drain the server."""
        return "admin" in self.roles

    @property
    def sees_all(self) -> bool:
        """Whether it is told what the server does for others."""
        return not self.roles.isdisjoint(("status", "admin"))


NOBODY = Caller("")
OWNER: frozenset[Role] = frozenset({"infer", "status", "admin"})
"""The roles of a key that whoever starts the server has given it by itself."""
