"""What a pool and its templates say to each other, in packets of Unix sockets.

The pool asks by the control socket, and gives one end of a further pair with it: the life of a worker. There it hears
of the fork, gives the new process what it needs, and hears of its end. A life that breaks off says nothing of the
worker's end: there is no fork, or no template any more.
"""

from __future__ import annotations

import struct

ASKED = b"fork"
"""On the control socket, with the template's end of a life."""
PID = struct.Struct("=i")
"""The first packet of a life, with a descriptor that is the process (pidfd_open). Without one it is a text: why there
will be none."""
RETURNCODE = struct.Struct("=i")
"""The last: as `subprocess.Popen.returncode`."""
MOST_BYTES = 1 << 16
"""Of the packet between them: variables of the environment as a JSON object, with the worker's end of its link."""
