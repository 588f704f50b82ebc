"""The environment as Ray finds it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featsvc.pool.contract.messages import Boot
from featsvc.pool.workers.process import worker_environment

# Ray tells its makers nothing of our users unless they want it.
EVERYWHERE = {"RAY_USAGE_STATS_ENABLED": "0"}
# By this Ray listens on the loopback address alone, as on systems where it makes no clusters.
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
OWN_VARIABLES = "FEATSVC_"


def prepare(address: str) -> None:
    """What Ray reads of the environment when it is imported."""
    for name, value in EVERYWHERE.items():
        os.environ.setdefault(name, value)
    if address:
        return
    for name, value in ON_LOOPBACK.items():
        os.environ.setdefault(name, value)
    # Whoever reaches Ray's ports could have it run any program, also other users of this machine.
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


@contextmanager
def without_own_variables() -> Iterator[None]:
    """Processes of Ray that start meanwhile inherit none of our settings: workers are told what they need."""
    own = {name: value for name, value in os.environ.items() if name.startswith(OWN_VARIABLES)}
    for name in own:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(own)


def runtime_env(boot: Boot) -> dict[str, Any]:  # Any: an argument of Ray's
    """What Ray gives a process with engines before their libraries load."""
    return {"env_vars": worker_environment(boot.device, boot.threads)}
