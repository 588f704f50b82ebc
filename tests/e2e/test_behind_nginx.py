"""A server behind nginx, by the configuration that docs/deploy.md prints."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from featsvc_client import FeatsvcClient, InvalidRequest, MasksSummary, Tls
from featsvc_client.channel import OPTIONS

from featsvc.v1 import model_pb2, model_pb2_grpc
from tests.authority import Authority
from tests.chaos.frames import ACK, PING, PREFACE, SETTINGS, frame
from tests.servers import KEY, ROOT, Server, running

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(not Path(NGINX).exists(), reason="no nginx on this machine")
PAGE = ROOT / "docs" / "deploy.md"
PREFIX = "/featsvc"
AUTHORISED = {"Authorization": f"Bearer {KEY}"}
# Callers' connections that are idle end after so long, in place of 75 s.
IDLE_S = 1
AROUND = """
user root;
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    keepalive_timeout {idle_s}s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running nginx, before a server."""

    grpc_port: int
    rest_port: int
    authority: Authority

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def tls(self) -> Tls:
        return Tls(self.authority.file)

    def url(self, path: str) -> str:
        """Of a path of CLIP."""
        return f"https://127.0.0.1:{self.rest_port}{PREFIX}{path}"

    def client(self) -> httpx.Client:
        """A caller of REST by the name of CLIP's port."""
        context = self.authority.client_context()
        return httpx.Client(
            verify=context, trust_env=False, timeout=60, headers={**AUTHORISED, "Host": "clip.example.com"}
        )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def printed(server: Server, ports: tuple[int, int], authority: Authority) -> str:
    """The configuration of the page, with the ports and files of this test."""
    (block,) = re.findall(r"^```nginx\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    pair = authority.server()
    changes = {
        "listen 443 ssl http2;": f"listen 127.0.0.1:{ports[0]} ssl http2;",
        "listen 443 ssl;": f"listen 127.0.0.1:{ports[1]} ssl;",
        "/etc/featsvc/server.pem": str(pair.cert),
        "/etc/featsvc/server.key": str(pair.key),
        "127.0.0.1:50051": server.target,
        "clip 8096;": f"clip {server.clip_port};",
        "dino 8097;": f"dino {server.dino_port};",
        "sam2 8098;": f"sam2 {server.sam2_port};",
    }
    for old, new in changes.items():
        assert old in block, old
        block = block.replace(old, new)
    return block


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    authority, ports = Authority(folder), (free_port(), free_port())
    flags = ("--profile=demo", "--devices=cpu", "--preload=", f"--root-path={PREFIX}")
    with running(folder / "log", "up", *flags) as server:
        file = folder / "nginx.conf"
        servers = printed(server, ports, authority)
        file.write_text(AROUND.format(folder=folder, idle_s=IDLE_S, servers=servers))
        process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
        )
        try:
            for port in ports:
                while not listens(port):
                    assert process.poll() is None, (folder / "error.log").read_text()
            yield Proxy(*ports, authority)
        finally:
            process.terminate()
            process.wait(timeout=30)


def listens(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


def test_grpc_passes_with_its_errors_pieces_and_streams(proxy: Proxy) -> None:
    picture = ROOT / "docs" / "scene.jpg"
    with FeatsvcClient(proxy.target, api_key=KEY, credentials=proxy.tls, timeout=60) as client:
        # Beyond the megabyte that nginx takes by default.
        with pytest.raises(InvalidRequest) as caught:
            client.dino_features(b"\xff\xd8" + bytes(3_000_000))
        assert [each.field for each in caught.value.violations] == ["image"]
        assert caught.value.request_id
        features = client.dino_features(picture, load_size=1024)
        assert features.array.nbytes > 1024 * 1024, "in pieces"
        masks = list(client.generate_masks_stream(picture, points_per_side=4))
        assert isinstance(masks[-1], MasksSummary)
        names = [
            name for name, _ in client.stream_dino_features([("a", picture), ("b", picture)], load_size=64)
        ]
        assert sorted(names) == ["a", "b"]


def test_rest_answers_below_its_prefix(proxy: Proxy) -> None:
    with proxy.client() as client:
        reply = client.post(proxy.url("/encode_text"), json={"text": "a red circle"})
        assert reply.status_code == 200
        assert "openapi.json" in client.get(proxy.url("/docs")).text
        client.get(proxy.url("/docs/assets/swagger-ui.css")).raise_for_status()
        document = client.get(proxy.url("/openapi.json")).json()
        assert document["servers"][0]["url"] == PREFIX
        packed = gzip.compress(json.dumps({"text": "a red circle"}).encode())
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        assert client.post(proxy.url("/encode_text"), content=packed, headers=headers).json() == reply.json()
        large = client.post(proxy.url("/extract"), json={"image": "A" * 4_000_000})
        assert large.status_code == 422, "it is no picture, and the server says so"
        offer = {
            "Upgrade": "h2c",
            "Connection": "Upgrade, HTTP2-Settings",
            "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA",
        }
        offered = client.post(proxy.url("/encode_text"), json={"text": "a red circle"}, headers=offer)
        assert offered.json() == reply.json()


def test_callers_of_rest_connect_again_where_nginx_has_ended_an_idle_connection(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.get(proxy.url("/health")).raise_for_status()
        # What ends is seen by whoever reads.
        with ssl_line(proxy) as line:
            assert line.recv(1) == b"", "idle"
        client.get(proxy.url("/health")).raise_for_status()


def ssl_line(proxy: Proxy) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", proxy.rest_port), timeout=60)
    line = proxy.authority.client_context().wrap_socket(plain, server_hostname="localhost")
    line.sendall(f"GET {PREFIX}/health HTTP/1.1\r\nHost: clip.example.com\r\n\r\n".encode())
    reply = line.recv(65536)
    while b"}" not in reply:
        reply += line.recv(65536)
    return line


def test_nginx_answers_the_pings_of_callers(proxy: Proxy) -> None:
    context = proxy.authority.client_context()
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", proxy.grpc_port), timeout=60)
    with context.wrap_socket(plain, server_hostname="localhost") as line, line.makefile("rb") as said:

        def answer() -> bytes:
            while head := said.read(9):
                payload = said.read(int.from_bytes(head[:3], "big"))
                if head[3:5] == bytes((PING, ACK)):
                    return payload
            raise AssertionError("the connection has ended")

        line.sendall(PREFACE + frame(SETTINGS, 0, 0))
        for number in range(100):
            ping = number.to_bytes(8, "big")
            line.sendall(frame(PING, 0, 0, ping))
            assert answer() == ping


async def test_callers_of_grpc_connect_again_where_nginx_has_ended_an_idle_connection(proxy: Proxy) -> None:
    async with grpc.aio.secure_channel(proxy.target, proxy.tls.credentials(), OPTIONS) as channel:
        status = model_pb2_grpc.ModelServiceStub(channel).GetStatus
        await status(model_pb2.GetStatusRequest(), timeout=60)
        if (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
            await asyncio.wait_for(channel.wait_for_state_change(state), 60)
        await status(model_pb2.GetStatusRequest(), timeout=60, wait_for_ready=True)
