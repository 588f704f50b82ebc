"""The REST shim beside a gateway: a process of its own, started again when it dies or gives no sign of life."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from featsvc.children import SILENCE_S, listening
from featsvc.environment import child_environment
from featsvc.server.gateway import Gateway
from featsvc.settings.access import DEFAULT_KEY, SECRETS, GatewayAddress
from featsvc.settings.attributes import attributes
from featsvc.settings.tree import Settings, ShimSettings


def rest_ports(
    settings: Settings, gateway: Gateway, stop: asyncio.Event
) -> AbstractAsyncContextManager[Mapping[str, int]]:
    """The three REST ports, open before the gateway; raises Unavailable where they cannot be opened."""
    return listening(
        "the REST shim",
        ("rest_shim.serve", *shim_flags(settings), *_to_own(gateway), "--beat"),
        stop,
        settings.grace,
        silence_s=SILENCE_S,
        # A command line is open to every user of the machine, an environment is not. Of the keys it needs to know only
        # whether the documented one is good.
        environment=child_environment(
            FEATSVC_API_KEY=DEFAULT_KEY if gateway.keys.is_documented else "",
            FEATSVC_STATUS_KEY=settings.status_key,
        ),
    )


def _to_own(gateway: Gateway) -> list[str]:
    """The way to this gateway, whatever variables say of another."""
    way = GatewayAddress(grpc_target=gateway.own_target, grpc_shown_port=gateway.ports["grpc_port"])
    return [each.typed(getattr(way, each.name)) for each in attributes(GatewayAddress)]


def shim_flags(settings: Settings, tree: type = ShimSettings) -> list[str]:
    """What the shim is told by flags: all that it reads but secrets."""
    return [each.typed(getattr(settings, each.name)) for each in attributes(tree) if each.name not in SECRETS]
