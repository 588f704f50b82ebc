"""An HTTP server that answers as a script says, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from featsvc_client import rest


@dataclass
class Service:
    """What to answer, and what was asked."""

    status: int = 200
    reply: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    accepts: list[str] = field(default_factory=list)
    timeouts: list[str] = field(default_factory=list)
    priorities: list[str | None] = field(default_factory=list)
    callers: list[tuple[str, int]] = field(default_factory=list)
    answer: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def serving(reply: object, status: int = 200, **headers: str) -> Iterator[Service]:
    """A service on a free port of loopback; its answers wait while a test has cleared `answer`."""
    service = Service(status, reply, {name.replace("_", "-"): value for name, value in headers.items()})
    service.answer.set()

    class Asked(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            service.paths.append(self.path)
            service.bodies.append(json.loads(body))
            service.keys.append(self.headers.get("Authorization"))
            service.accepts.append(self.headers["Accept"])
            service.timeouts.append(self.headers["X-Request-Timeout"])
            service.priorities.append(self.headers.get("X-Request-Priority"))
            service.callers.append(self.client_address)
            service.answer.wait()
            content = (
                service.reply if isinstance(service.reply, bytes) else json.dumps(service.reply).encode()
            )
            self.send_response(service.status)
            for name, value in {"Content-Length": str(len(content)), **service.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
        server.daemon_threads = True
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            service.answer.set()
            rest.POOLS.close()
            server.shutdown()
            thread.join()
