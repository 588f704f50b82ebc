"""Pictures by address: fetched where allowed, refused where not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from featsvc_client import errors

from tests.e2e.transports import Transport


@pytest.fixture
def address(picture: bytes) -> Iterator[str]:
    """A loopback server with the picture at /a.png, words at /words and nothing else."""
    files = {"/a.png": picture, "/words": b"these are words"}

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("operation", ["dino_features", "encode_image", "prompt_masks"])
def test_a_picture_by_address_gives_what_its_bytes_give(
    transport: Transport, address: str, picture: bytes, operation: str
) -> None:
    by_address = transport.ask(operation, f"{address}/a.png", {})
    for name, array in transport.ask(operation, picture, {}).items():
        np.testing.assert_array_equal(by_address[name], array)


@pytest.mark.parametrize("path", ["/none.png", "/words"])
def test_an_address_without_a_picture_is_the_callers_mistake(
    transport: Transport, address: str, path: str
) -> None:
    with pytest.raises(errors.InvalidRequest):
        transport.ask("dino_features", address + path, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/a.png",
        "http://[::1]/a.png",
        "http://0.0.0.0/",
    ],
)
def test_addresses_that_are_not_public_are_refused(transport: Transport, url: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        transport.ask("dino_features", url, {})
