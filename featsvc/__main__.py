"""`featsvc`, and `python -m featsvc`: the command line, where what it needs is installed."""

from __future__ import annotations

import os
import signal
import sys

# There is no package of these names on an index: a clone is what there is.
REMEDY = "at the top of a clone run `make setup`, or pip install '.[server,rest]' (torch before sam2)"


def main() -> int:
    """Runs a command; 2 where the light package is installed, which has the contract and only this help."""
    # gRPC's core writes plain lines to standard error, between ours. What goes wrong is told as the status of a call.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Or a process that is being started would first start gRPC's threads again, and may wait for them for ever.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    try:
        from featsvc.server.commands.cli import main as command
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("featsvc", "rest_shim"):
            raise
        reason = f"{error.name} is not installed, which the server needs; {REMEDY}"
        if {"-h", "--help"} & set(sys.argv[1:]):
            print(
                f"usage: featsvc COMMAND [FLAG ...]\n\nThis is the light package, without commands: {reason}"
            )
            return 0
        print(f"featsvc: {reason}", file=sys.stderr)
        return 2
    return command()


if __name__ == "__main__":
    # While modules are imported Ctrl-C just ends the process; a server hears it as soon as it has a loop.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
