"""What the server needs of the machine before anything else: without it no worker could ever start."""

from __future__ import annotations

import tempfile

from featsvc.errors import InvalidArgument
from featsvc.processes import most_files

# gRPC ends the process where it finds none; a server with one worker has some 60 open before anybody calls.
LEAST_FILES = 256


def check_machine() -> None:
    """Raises InvalidArgument, with what to do, where there is no temporary folder or may be too few open files."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        folders = str(error.strerror).partition(" in ")[2] or "the usual places"
        raise InvalidArgument(
            f"no temporary folder can be written to, of {folders}: torch needs one, and REST has its socket there. "
            "They are full, read-only or not there: make one of them writable, with room, or name another by TMPDIR"
        ) from None
    files = most_files()
    if files is not None and files < LEAST_FILES:
        raise InvalidArgument(
            f"this process may open {files} files and connections, and needs {LEAST_FILES} at the least: raise the "
            "limit (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of Docker)"
        )
