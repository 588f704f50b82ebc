"""The environment of this process.

Nothing else reads it but `featsvc.pool.workers.process`, which passes it on unread, and `featsvc.__main__` and
`rest_shim.processes.entry`, which set gRPC's verbosity before it is imported.
"""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """The FEATSVC_… variables."""
    return {name: value for name, value in os.environ.items() if name.startswith("FEATSVC_")}


def child_environment(**more: str) -> dict[str, str]:
    """All of it for a child of this process, with a few variables more."""
    return {**os.environ, **more}
