"""Fetching pictures: between loopback servers, with a resolver that says what DNS might."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from featsvc.errors import InvalidFields
from featsvc.server.addresses import Allowed
from featsvc.server.fetch import FetchLimits, PictureFetcher, check_address

LIMITS = FetchLimits(enabled=True, timeout_s=20, max_bytes=1000, max_redirects=2)
LOOPBACK = Allowed.of(("127.0.0.1",))
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def host(answer: Answer) -> AsyncIterator[int]:
    """A tiny HTTP server on loopback; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        try:
            await answer(request.split()[1].decode(), writer)
            await writer.drain()
        except ConnectionError:
            pass  # the client has seen enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def reply(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def refused(fetcher: PictureFetcher, url: str) -> str:
    with pytest.raises(InvalidFields) as caught:
        await fetcher.picture(url)
    assert [each.field for each in caught.value.violations] == ["image.url"]
    return caught.value.message


async def test_an_allowed_host_gives_its_picture() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("200 OK", b"picture of " + path.encode()))

    async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK) as fetcher:
        assert await fetcher.picture(f"http://127.0.0.1:{port}/a.png?b=c") == b"picture of /a.png?b=c"


async def test_a_loopback_address_is_refused_unless_it_is_allowed() -> None:
    asked: list[str] = []

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        asked.append(path)

    async with host(answer) as port, PictureFetcher(LIMITS, Allowed()) as fetcher:
        for name in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"):
            message = await refused(fetcher, f"http://{name}:{port}/")
            assert "not public" in message or "resolved" in message
    assert asked == []


async def test_the_answer_of_dns_is_judged_and_not_the_name() -> None:
    async def to_private(name: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    async with PictureFetcher(LIMITS, Allowed(), to_private) as fetcher:
        assert "not public" in await refused(fetcher, "http://public.example/")


async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def rebinding(name: str, port: int) -> list[str]:
        return next(answers)

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("200 OK", b"ok"))

    async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK, rebinding) as fetcher:
        # A second look-up by the connection would have got the private address.
        assert await fetcher.picture(f"http://rebinding.example:{port}/") == b"ok"
        assert "not public" in await refused(fetcher, f"http://rebinding.example:{port}/")


async def test_every_redirect_is_judged_anew() -> None:
    async def names(name: str, port: int) -> list[str]:
        return ["127.0.0.1"] if name == "open.example" else ["169.254.169.254"]

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("302 Found", b"", "Location: http://metadata.example/latest"))

    async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK, names) as fetcher:
        assert "'metadata.example' is not public" in await refused(fetcher, f"http://open.example:{port}/")


async def test_redirects_are_followed_up_to_their_limit_and_to_http_only() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        number = int(path.strip("/") or 0)
        if number == 100:
            writer.write(reply("302 Found", b"", "Location: file:///etc/passwd"))
        elif number:
            writer.write(reply("307 Temporary Redirect", b"", f"Location: /{number - 1}"))
        else:
            writer.write(reply("200 OK", b"there"))

    async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK) as fetcher:
        assert await fetcher.picture(f"http://127.0.0.1:{port}/2") == b"there"
        assert "redirects" in await refused(fetcher, f"http://127.0.0.1:{port}/3")
        assert "http or https" in await refused(fetcher, f"http://127.0.0.1:{port}/100")


async def test_a_picture_over_the_limit_is_cut_off_also_without_a_length() -> None:
    sent = 0

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x" * 1000)
            sent += 1000
            await writer.drain()

    async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK) as fetcher:
        assert "1000 bytes" in await refused(fetcher, f"http://127.0.0.1:{port}/")
    assert sent < 10_000_000


async def test_a_silent_host_ends_with_the_time_limit_and_blocks_nobody_else() -> None:
    silent = asyncio.Event()

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/silent":
            await silent.wait()
        writer.write(reply("200 OK", b"quick"))

    limits = replace(LIMITS, timeout_s=1.0)
    async with host(answer) as port, PictureFetcher(limits, LOOPBACK) as fetcher:
        waiting = asyncio.create_task(refused(fetcher, f"http://127.0.0.1:{port}/silent"))
        assert await fetcher.picture(f"http://127.0.0.1:{port}/quick") == b"quick"
        assert not waiting.done()
        assert "within 1 s" in await waiting
        silent.set()


async def test_a_host_that_fails_is_the_callers_error_and_shows_nothing_inner() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("404 Not Found", b"secret") if path == "/404" else b"nonsense\r\n\r\n")

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
        async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK) as fetcher:
            assert "404" in await refused(fetcher, f"http://127.0.0.1:{port}/404")
            assert "failed" in await refused(fetcher, f"http://127.0.0.1:{port}/nonsense")
            assert "failed" in await refused(fetcher, f"http://127.0.0.1:{closed}/")


async def test_fetching_can_be_turned_off() -> None:
    async with PictureFetcher(replace(LIMITS, enabled=False), LOOPBACK) as fetcher:
        assert "fetches no addresses" in await refused(fetcher, "http://127.0.0.1/")


@pytest.mark.parametrize(
    "url",
    [
        "", "picture.png", "/etc/passwd", "file:///etc/passwd", "ftp://example.com/a", "http://", "http:///a",
        "gopher://example.com", "http://user:pass@example.com/", "http://example.com:99999/", "http://[::1/",
        "javascript:alert(1)", "http://exämple.com/",
    ],
)  # fmt: skip
def test_other_addresses_are_refused_before_anything_is_resolved(url: str) -> None:
    with pytest.raises(InvalidFields):
        check_address(url)
