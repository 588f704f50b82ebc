"""`featsvc top HOST:PORT`: a running server on a terminal, as its metrics port shows it."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException

from featsvc.errors import InvalidArgument
from featsvc.server.commands.models import Subparsers

TIMEOUT_S = 5.0
TARGET = "127.0.0.1:9464"
# Columns of a file or a pipe, which no table here fills.
WIDE = 500
MEANT = ": give the port that the server was started with by --metrics-port"


def add(commands: Subparsers) -> None:
    """Adds the command."""
    text = "watch a running server: workers, queue, callers, models, caches"
    parser = commands.add_parser("top", help=text, description=text)
    parser.add_argument(
        "target",
        metavar="HOST:PORT",
        nargs="?",
        default=TARGET,
        help="its metrics port, which --metrics-port of the server has opened [%(default)s]",
    )
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two looks [2]")
    parser.add_argument(
        "--once",
        action="store_true",
        help="print one picture, whose rates are those since the server's start; so it is into a file or a pipe",
    )
    parser.set_defaults(command=_top, parser=parser)


def _top(flags: dict[str, object]) -> int:
    # For this command alone.
    from rich.console import Console
    from rich.live import Live

    from featsvc.server.metrics.reading import ReadPage, Span
    from featsvc.server.metrics.view import frame

    target, every_s = str(flags["target"]), max(0.1, float(str(flags["every"])))
    now = ReadPage.of(_page(target, "/metrics"))
    span = Span(now, max(1e-9, time.time() - now.sum("process_start_time_seconds")), ReadPage({}))
    is_watched = sys.stdout.isatty()
    console = Console(width=None if is_watched else WIDE)
    if flags["once"] or not is_watched:
        console.print(frame(target, span, _problems(target)))
        return 0
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(frame(target, span, _problems(target)), refresh=True)
            before, looked_at = span.now, time.monotonic()
            time.sleep(every_s)
            now = ReadPage.of(_page(target, "/metrics"))
            span = Span(now, time.monotonic() - looked_at, before)
    return 0


def _problems(target: str) -> list[str]:
    return list(json.loads(_page(target, "/readyz"))["problems"])


def _page(target: str, path: str) -> str:
    """A page of the port. Raises InvalidArgument that says which port is meant."""
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidArgument(f"{target!r} is no HOST:PORT such as {TARGET}")
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body, kind = response.read(), response.headers.get_content_type()
    except (OSError, HTTPException) as error:
        raise InvalidArgument(
            f"{target} does not answer as a metrics port ({_reason(error)}){MEANT}"
        ) from None
    finally:
        connection.close()
    if kind != ("text/plain" if path == "/metrics" else "application/json"):
        raise InvalidArgument(f"{target} answers, and is no metrics port of featsvc{MEANT}")
    return body.decode(errors="replace")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
