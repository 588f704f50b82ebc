"""Entry of a worker process that is a fresh interpreter: `python -m featsvc.pool.worker FD`."""

from __future__ import annotations

import socket
import sys

from featsvc.pool.worker.life import work
from featsvc.processes import die_with_parent, leave_signals_to_parent


def main() -> None:
    """Work until the parent is gone; FD is this worker's end of a socket pair."""
    leave_signals_to_parent()
    die_with_parent()
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    work(sock)


if __name__ == "__main__":
    main()
