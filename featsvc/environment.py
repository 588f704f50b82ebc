"""The environment of this process.

Nothing else reads it but `featsvc.pool.workers.process`, which passes it on unread, `featsvc.pool.worker.template`,
which sets what a worker gets beside its template's, and `featsvc.__main__` and `rest_shim.processes.entry`, which set
gRPC's verbosity before it is imported, and that it does nothing in a process that is being started.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches

PREFIX = "FEATSVC_"
KEY = "FEATSVC_API_KEY"
# What Kubernetes and Docker's links say of a service whose name begins with featsvc, to all that run beside it.
OF_A_SERVICE = re.compile(r"FEATSVC_(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)")
ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def environment() -> dict[str, str]:
    """The FEATSVC_… variables."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def child_environment(**more: str) -> dict[str, str]:
    """All of it for a child of this process, with a few variables more."""
    return {**os.environ, **more}


def key_to_send() -> str | None:
    """The key that programs send which ask a server: that of a server may be several, which are all good."""
    return os.environ.get(KEY, "").partition(",")[0].strip() or None


def passed_over(known: Collection[str]) -> Iterator[str]:
    """What to warn of: a sentence for each FEATSVC_… variable that is not known, with the nearest one that is."""
    given = environment()
    for name in sorted(given.keys() - known):
        if OF_A_SERVICE.fullmatch(name) or ADDRESS.match(given[name]):
            continue
        # All are alike in how they begin.
        near = get_close_matches(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], 1)
        nearest = f": did you mean {PREFIX}{near[0]}?" if near else ""
        yield f"{name[:80]} is no setting, and is passed over{nearest}"


def mistyped_key() -> Iterator[str]:
    """The same for programs that read the key alone: of variables that look like it, and are no setting of a server."""
    for name in get_close_matches(KEY, environment().keys() - {KEY}, cutoff=0.9):
        yield f"{name[:80]} is not read: did you mean {KEY}?"
