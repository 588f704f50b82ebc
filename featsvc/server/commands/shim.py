"""The REST shim beside a gateway: a process of its own, started again when it dies or gives no sign of life."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from featsvc.children import SILENCE_S, listening
from featsvc.settings.access import Keys
from featsvc.settings.attributes import attributes, shown
from featsvc.settings.environment import child_environment
from featsvc.settings.tree import Settings, ShimSettings


def rest_ports(
    settings: Settings, target: str, keys: tuple[str, ...], stop: asyncio.Event
) -> AbstractAsyncContextManager[Mapping[str, int]]:
    """The three REST ports before the gateway, which they reach at the target.

    Raises Unavailable where they cannot be opened.
    """
    return listening(
        "the REST shim",
        ("rest_shim.serve", *shim_flags(settings), f"--grpc-target={target}", "--beat"),
        stop,
        settings.grace,
        silence_s=SILENCE_S,
        # A command line is open to every user of the machine, an environment is not.
        environment=child_environment(FEATSVC_API_KEY=shown(keys)),
    )


def shim_flags(settings: Settings, tree: type = ShimSettings) -> list[str]:
    """What the shim is told by flags: all that it reads but keys."""
    secret = {each.name for each in attributes(Keys)}
    return [each.typed(getattr(settings, each.name)) for each in attributes(tree) if each.name not in secret]
