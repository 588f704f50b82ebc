"""REST over TLS: who is let in, what a handshake may cost, and certificates that change while requests run."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from rest_shim.secure import names_in
from tests.authority import Authority, Pair, swaps
from tests.rest.fake_gateway import KEY, FakeGateway
from tests.rest.shim import PICTURE, Shim, shim
from tests.rest.wire import Wire, get, request

pytestmark = pytest.mark.asyncio(loop_scope="session")
SWAPS = 10


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def secure(gateway: FakeGateway, pair: Pair, **changed: object) -> AsyncIterator[Shim]:
    async with shim(gateway.target, tls_cert=str(pair.cert), tls_key=str(pair.key), **changed) as running:
        yield running


@asynccontextmanager
async def line(ports: Shim, context: ssl.SSLContext | None) -> AsyncIterator[Wire]:
    """A new connection to CLIP's port, with TLS or without."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.ports["clip"], ssl=context)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


async def status(ports: Shim, context: ssl.SSLContext) -> int:
    """Of a question over a connection of its own."""
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=60) as client:
        url = f"https://localhost:{ports.ports['clip']}/extract"
        reply = await client.post(url, json={"image": PICTURE}, headers={"Authorization": f"Bearer {KEY}"})
        return reply.status_code


async def test_requests_are_answered_over_tls_and_over_nothing_else(
    gateway: FakeGateway, authority: Authority
) -> None:
    async with secure(gateway, authority.server()) as ports:
        assert await status(ports, authority.client_context()) == 200
        async with line(ports, None) as plain:
            await plain.send(get("/health"))
            assert b"200" not in await plain.end()


async def test_a_caller_shows_a_certificate_where_authorities_are_named(
    gateway: FakeGateway, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").client("alice")
    async with secure(gateway, authority.server(), tls_client_ca=str(authority.file)) as ports:
        assert await status(ports, authority.client_context(authority.client("alice"))) == 200
        for context in (authority.client_context(), authority.client_context(stranger)):
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await status(ports, context)


async def test_a_request_that_is_refused_has_its_answer_over_tls_too(
    gateway: FakeGateway, authority: Authority
) -> None:
    async with secure(gateway, authority.server()) as ports, line(ports, authority.client_context()) as found:
        await found.send(request(b"{}", f"X-Long: {'a' * 100_000}"))
        assert (await found.answer()).status == 431


async def test_who_does_not_agree_on_tls_is_ended_when_its_time_is_over(
    gateway: FakeGateway, authority: Authority
) -> None:
    async with (
        secure(gateway, authority.server(), header_timeout=0.2) as ports,
        line(ports, None) as silent,
    ):
        assert await silent.end() == b""


async def test_who_does_not_agree_on_tls_takes_no_place_of_others(
    gateway: FakeGateway, authority: Authority
) -> None:
    async with secure(gateway, authority.server(), rest_connections=4) as ports, AsyncExitStack() as stack:
        # One address may have half of the places.
        first, second = [await stack.enter_async_context(line(ports, None)) for _ in range(2)]
        assert await status(ports, authority.client_context()) == 200
        assert await first.end() == b"", "the oldest has given way"
        assert not second.reader.at_eof()


async def test_certificates_that_are_swapped_under_load_fail_no_request(
    gateway: FakeGateway, authority: Authority
) -> None:
    pair, swapped, answered = authority.server(), asyncio.Event(), [0]

    async def call_on(ports: Shim) -> None:
        """Over one connection for all the time."""
        async with httpx.AsyncClient(
            verify=authority.client_context(), trust_env=False, timeout=60
        ) as client:
            while not swapped.is_set():
                url = f"https://localhost:{ports.ports['clip']}/encode_text"
                headers = {"Authorization": f"Bearer {KEY}"}
                (await client.post(url, json={"text": "a"}, headers=headers)).raise_for_status()
                answered[0] += 1

    async with secure(gateway, pair) as ports:
        assert await status(ports, authority.client_context()) == 200
        callers = [asyncio.create_task(call_on(ports)) for _ in range(2)]
        try:
            for trusted, other in swaps(authority, pair, SWAPS):
                assert await status(ports, trusted.client_context()) == 200
                with pytest.raises((httpx.TransportError, ssl.SSLError)):
                    await status(ports, other.client_context())
        finally:
            swapped.set()
            await asyncio.gather(*callers)
    assert answered[0] > SWAPS


async def test_the_names_of_a_caller_are_the_first_common_name_and_those_of_dns() -> None:
    directory = ((("commonName", "inner"),),)
    certificate = {
        "subject": ((("organizationName", "o"),), (("commonName", "first"),), (("commonName", "second"),)),
        "subjectAltName": (
            ("DirName", directory),
            ("URI", "u"),
            ("email", "e@x"),
            ("DNS", "a"),
            ("DNS", "b"),
        ),
    }
    assert names_in(certificate) == ("first", "a", "b")
    assert names_in(None) == ()
