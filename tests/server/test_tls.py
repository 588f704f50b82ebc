"""gRPC with TLS: who is let in, and certificates that change while calls run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from featsvc_client import AsyncFeatsvcClient, Tls

from featsvc.errors import InvalidArgument
from featsvc.v1 import clip_pb2_grpc, model_pb2, model_pb2_grpc
from tests.authority import Authority, Pair, swaps
from tests.server.asking import asking
from tests.server.conftest import AUTHORISED, heard, start

SWAPS = 10
UNTRUSTED = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def channel(
    port: int, trusted: Authority, shown: Pair | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own, by TLS."""
    files = (None, None) if shown is None else (shown.key.read_bytes(), shown.cert.read_bytes())
    credentials = grpc.ssl_channel_credentials(trusted.file.read_bytes(), *files)
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100))
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as opened:
        yield opened


async def said(opened: grpc.aio.Channel) -> str:
    """Which model has answered."""
    stub = clip_pb2_grpc.ClipServiceStub(opened)
    reply = await stub.ExtractFeatures(asking(b"say 7"), metadata=AUTHORISED, timeout=60)
    return str(reply.model)


async def code_of(opened: grpc.aio.Channel) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await said(opened)
    return caught.value.code()


def settings(pair: Pair, client_ca: Path | None = None) -> dict[str, str]:
    return {
        "tls_cert": str(pair.cert),
        "tls_key": str(pair.key),
        "tls_client_ca": str(client_ca) if client_ca else "",
    }


async def test_calls_are_answered_over_tls_and_over_nothing_else(authority: Authority) -> None:
    async with start(**settings(authority.server())) as running:
        port = running.gateway.port
        async with channel(port, authority) as opened:
            assert await said(opened) == "demo-clip"
            # Whoever sees the state of the server sees when its certificate ends.
            stub, asked = model_pb2_grpc.ModelServiceStub(opened), model_pb2.GetStatusRequest()
            assert (await stub.GetStatus(asked, metadata=AUTHORISED)).certificate_left_s > 0
            assert not (await stub.GetStatus(asked)).HasField("certificate_left_s")
        assert await code_of(running.channel) is UNTRUSTED


async def test_a_caller_shows_a_certificate_of_an_authority_that_is_trusted_and_a_key(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    async with start(**settings(authority.server(), authority.file)) as running:
        port = running.gateway.port
        async with channel(port, authority, authority.client("alice")) as opened:
            assert await said(opened) == "demo-clip"
            stub = clip_pb2_grpc.ClipServiceStub(opened)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ExtractFeatures(asking(b"say 7"))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        for shown in (None, other.client("alice")):
            async with channel(port, authority, shown) as opened:
                assert await code_of(opened) is UNTRUSTED


async def test_a_certificate_stands_for_a_key_where_the_file_of_keys_names_it(
    authority: Authority, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    names = {"camera-7": "alice", "camera-8": "camera-8.example.com", "mail": "bob@example.com"}
    keys.write_text("\n".join(f'[keys.{each}]\ncertificate = "{name}"' for each, name in names.items()))
    tls = settings(authority.server(), authority.file)
    address = f"unix:{tmp_path}/socket"
    async with start(**tls, api_key_file=str(keys), own_address=address) as running:
        port = running.gateway.port

        async def name(opened: grpc.aio.Channel, *metadata: tuple[str, str]) -> str:
            stub = model_pb2_grpc.ModelServiceStub(opened)
            reply = await stub.GetCaller(model_pb2.GetCallerRequest(), metadata=metadata, timeout=60)
            return str(reply.name)

        async with channel(port, authority, authority.client("alice")) as opened:
            assert await name(opened) == "camera-7"
            assert await name(opened, ("authorization", "Bearer ")) == "camera-7"
            assert await name(opened, *AUTHORISED) == "key 0", "a key says more than a certificate"
        pair = authority.client("alice")
        shown = Tls(authority.file, pair.cert, pair.key)
        async with AsyncFeatsvcClient(f"localhost:{port}", credentials=shown) as client:
            assert (await client.caller()).name == "camera-7", "a client sends no key beside a certificate"
        async with grpc.aio.insecure_channel(running.gateway.own_target) as opened:
            assert await name(opened, ("featsvc-certificate", "bob,alice")) == "camera-7", "as the shim says"
        async with channel(port, authority, authority.client("carol", "camera-8.example.com")) as opened:
            assert await name(opened) == "camera-8"
        async with (
            heard("featsvc.audit") as lines,
            channel(port, authority, authority.client("bob", "bob@example.com")) as opened,
        ):
            await model_pb2_grpc.ModelServiceStub(opened).GetStatus(model_pb2.GetStatusRequest())
            for metadata in ((), (("featsvc-certificate", "alice"),)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await name(opened, *metadata)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            line = await lines.get()
            assert (line["message"], line["method"].rpartition("/")[2]) == (
                "unknown certificate",
                "GetCaller",
            )


async def test_what_only_the_shim_reaches_has_no_tls(authority: Authority, tmp_path: Path) -> None:
    for address in (f"unix:{tmp_path}/socket", "127.0.0.1:0"):
        async with start(**settings(authority.server()), own_address=address) as running:
            target = running.gateway.own_target
            assert target != f"127.0.0.1:{running.gateway.port}"
            async with grpc.aio.insecure_channel(target) as opened:
                assert await said(opened) == "demo-clip"


async def test_certificates_that_are_swapped_under_load_fail_no_call(authority: Authority) -> None:
    pair = authority.server()
    async with start(**settings(pair)) as running:
        port, calls, swapped = running.gateway.port, [0], asyncio.Event()

        async def call_on() -> None:
            """Over one connection for all the time."""
            async with channel(port, authority) as opened:
                while not swapped.is_set():
                    calls[0] += await said(opened) == "demo-clip"

        callers = [asyncio.create_task(call_on()) for _ in range(4)]
        try:
            for trusted, _ in swaps(authority, pair, SWAPS):
                async with channel(port, trusted) as opened:
                    assert await said(opened) == "demo-clip"
        finally:
            swapped.set()
            await asyncio.gather(*callers)
        assert calls[0] > SWAPS


async def test_a_certificate_that_is_none_is_told_before_the_server_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"tls_cert: .* cannot be read"):
        async with start(tls_cert=str(tmp_path / "missing")):
            pass
