"""Where the runners begin, before gRPC is imported."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence


def run(families: Sequence[str] = ()) -> int:
    """Serves the families, all where none is named, as the command line says; the exit status."""
    # While modules are imported Ctrl-C just ends the process, or is left to the parent that ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN if "--end-with-stdin" in sys.argv else signal.SIG_DFL)
    # gRPC's core writes plain lines to standard error, between ours, and reads this while it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Or a process that is being started would first start gRPC's threads again, and may wait for them for ever.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from rest_shim.app.endpoints import FAMILIES, PAGE
    from rest_shim.processes.supervise import main

    return main(None, families or [PAGE, *FAMILIES])
