"""The shim's connections to a gateway that goes and comes back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from featsvc.certificates import CallerFiles
from featsvc.children import at_work
from rest_shim.call.gateway import CONNECTIONS, GatewayClient
from tests.authority import Authority, put
from tests.rest.fake_gateway import fake_gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_gateway_that_is_back_for_one_connection_is_back_for_all() -> None:
    async with fake_gateway() as fake:
        port = fake.port
    gateway = GatewayClient(f"127.0.0.1:{port}", timeout_s=60)
    try:
        for _ in range(CONNECTIONS):
            with pytest.raises(grpc.aio.AioRpcError):
                await gateway.status()
        async with fake_gateway(port):
            while not await is_there(gateway):
                pass
            # Each connection waits for its own time to try again; until then it would refuse its calls.
            for _ in range(8 * CONNECTIONS):
                await gateway.status()
    finally:
        await gateway.close()


def identity(authority: Authority) -> grpc.ServerCredentials:
    """Of a gateway that only callers with a certificate of the same authority reach."""
    pair = authority.server()
    chain = ((pair.key.read_bytes(), pair.cert.read_bytes()),)
    return grpc.ssl_server_credentials(chain, authority.file.read_bytes(), require_client_auth=True)


async def test_changed_files_of_tls_are_in_force_and_what_cannot_be_used_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rest_shim.call.gateway.LOOK_S", 0.01)
    for name in ("old", "new", "shown"):
        (tmp_path / name).mkdir()
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    files = CallerFiles(*(tmp_path / "shown" / name for name in ("ca", "cert", "key")))

    def show(authority: Authority) -> None:
        pair = authority.client("port")
        for path, content in zip(
            (files.ca, files.cert, files.key), (authority.file, pair.cert, pair.key), strict=True
        ):
            put(Path(str(path)), content.read_bytes())

    show(old)
    async with AsyncExitStack() as stack:
        async with fake_gateway(credentials=identity(old)) as fake:
            gateway = GatewayClient(f"127.0.0.1:{fake.port}", timeout_s=60, tls=files)
            stack.push_async_callback(gateway.close)
            await stack.enter_async_context(at_work(gateway.follow_files()))
            await gateway.status()
            put(Path(str(files.cert)), b"no certificate")
            while "cannot be used, the old ones stay" not in caplog.text:
                await gateway.status()
        show(new)
        async with fake_gateway(fake.port, credentials=identity(new)):
            while not await is_there(gateway):
                pass


class CountedChannel:
    """Of a connection only whether it is closed."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Changing:
    """Files of TLS that are others at each look."""

    def stamp(self) -> object:
        return object()

    def context(self) -> None:
        pass


@pytest.mark.parametrize("old_s", [0.0, 3600.0])
async def test_replaced_connections_are_closed_and_forgotten(
    monkeypatch: pytest.MonkeyPatch, old_s: float
) -> None:
    opened, replaced = list[CountedChannel](), asyncio.Event()

    def open_one(*_: object) -> tuple[CountedChannel, ...]:
        opened.append(CountedChannel())
        if len(opened) == 3:
            replaced.set()
        return (opened[-1],)

    for name, value in {"LOOK_S": 0.0, "OLD_S": old_s, "_opened": open_one}.items():
        monkeypatch.setattr(f"rest_shim.call.gateway.{name}", value)
    gateway = GatewayClient("nowhere", timeout_s=60, tls=Changing())  # type: ignore[arg-type]
    following = asyncio.create_task(gateway.follow_files())
    await replaced.wait()
    following.cancel()
    if not old_s:
        await asyncio.gather(*gateway._old)
        assert not gateway._old
        assert [each.closed for each in opened] == [True, True, False]
    # Where they are old after an hour the last task that is to close some has not had its first step yet.
    await gateway.close()
    assert [each.closed for each in opened] == [True, True, True]


async def is_there(gateway: GatewayClient) -> bool:
    try:
        await gateway.status()
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True
