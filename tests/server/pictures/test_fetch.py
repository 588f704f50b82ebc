"""Fetching pictures: between loopback servers, with a resolver that says what DNS might."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from featsvc.errors import InvalidFields, Overloaded
from featsvc.server.pictures.addresses import Allowed
from featsvc.server.pictures.fetch import FetchLimits, PictureFetcher, Shares, check_address
from featsvc.settings.access import KeyLimits
from featsvc.work.caller import Caller

LIMITS = FetchLimits(enabled=True, timeout_s=20, max_bytes=1000, max_redirects=2)
LOOPBACK = Allowed.of(("127.0.0.1",))
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def host(answer: Answer) -> AsyncIterator[int]:
    """A tiny HTTP server on loopback; its port."""
    answering = set[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        request = await reader.readuntil(b"\r\n\r\n")
        try:
            await answer(request.split()[1].decode(), writer)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client has seen enough, or the test has
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        # From Python 3.12 on the end of a server waits for these.
        for each in answering:
            if each is not None:
                each.cancel()


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
    asked, silent = asyncio.Event(), asyncio.Event()

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/silent":
            asked.set()
            await silent.wait()
        writer.write(reply("200 OK", b"quick"))

    async with host(answer) as port:
        url = f"http://127.0.0.1:{port}/silent"
        async with PictureFetcher(replace(LIMITS, timeout_s=600.0), LOOPBACK) as fetcher:
            waiting = asyncio.create_task(fetcher.picture(url))
            await asked.wait()
            assert await fetcher.picture(f"http://127.0.0.1:{port}/quick") == b"quick"
            assert not waiting.done()
            waiting.cancel()
        async with PictureFetcher(replace(LIMITS, timeout_s=0.2), LOOPBACK) as fetcher:
            assert "within 0.2 s" in await refused(fetcher, url)
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


async def test_a_redirect_to_what_is_no_address_is_told_as_such() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("302 Found", b"", "Location: http://[::1"))

    async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK) as fetcher:
        assert "redirects to what is no address" in await refused(fetcher, f"http://127.0.0.1:{port}/")


async def test_silent_hosts_of_one_key_leave_others_room_to_fetch() -> None:
    waiting = asyncio.Semaphore(0)

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/silent":
            waiting.release()
            await asyncio.Event().wait()
        writer.write(reply("200 OK", b"picture"))

    one, other = (Caller(name, limits=KeyLimits(url_max_fetches_per_key=4)) for name in ("key 0", "key 1"))
    async with (
        host(answer) as port,
        PictureFetcher(replace(LIMITS, max_fetches=8), LOOPBACK) as fetcher,
    ):
        silent = [
            asyncio.create_task(fetcher.picture(f"http://127.0.0.1:{port}/silent", one)) for _ in range(20)
        ]
        for _ in range(4):
            await waiting.acquire()
        assert await fetcher.picture(f"http://127.0.0.1:{port}/good", other) == b"picture"
        for each in silent:
            each.cancel()
        await asyncio.gather(*silent, return_exceptions=True)
        assert await fetcher.picture(f"http://127.0.0.1:{port}/good", one) == b"picture"


async def test_one_that_waits_too_long_for_a_place_may_try_again() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    one = Caller("key 0", limits=KeyLimits(url_max_fetches_per_key=1))
    async with (
        host(answer) as port,
        PictureFetcher(replace(LIMITS, timeout_s=0.3), LOOPBACK) as fetcher,
    ):
        url = f"http://127.0.0.1:{port}/"
        found = await asyncio.gather(*(fetcher.picture(url, one) for _ in range(3)), return_exceptions=True)
        told = str(next(each for each in found if isinstance(each, Overloaded)))
        assert re.match(
            r"pictures to fetch for this key: \d, at most 1 at once \(url_max_fetches_per_key\)", told
        )
        assert told.endswith("no turn within 0.3 s (--url-timeout): try again in 1.0 s")


async def test_a_limit_of_fetches_that_was_raised_holds_at_once() -> None:
    shares = Shares(replace(LIMITS, timeout_s=0.1))
    one, two = (Caller("key 0", limits=KeyLimits(url_max_fetches_per_key=most)) for most in (1, 2))
    async with shares.share(one):
        with pytest.raises(Overloaded):
            async with shares.share(one):
                pass
        async with shares.share(two), shares.share(two):
            pass
    async with shares.share(two), shares.share(two):
        pass


async def test_a_fetch_that_finds_no_place_among_those_of_all_is_told_so() -> None:
    shares = Shares(replace(LIMITS, timeout_s=0.1, max_fetches=1))
    told = r"pictures to fetch: 2, at most 1 at once \(--url-max-fetches\), 1 of them for this key"
    async with shares.share(Caller("key 0")):
        with pytest.raises(Overloaded, match=told):
            async with shares.share(Caller("key 1")):
                pass


async def test_pictures_that_are_too_large_all_together_are_told_the_limit_and_the_share() -> None:
    shares = Shares(replace(LIMITS, max_total_bytes=100))
    one = Caller("key 0", limits=KeyLimits(url_max_bytes_per_key=80))
    async with shares.share(one) as count, shares.share(Caller("key 1")) as count_other:
        count(70)
        with pytest.raises(Overloaded, match=r"this key have 90 bytes, at most 80 \(url_max_bytes_per_key\)"):
            count(20)
        with pytest.raises(Overloaded, match=r"110 bytes, at most 100 \(--url-max-bytes\), 40 of them for"):
            count_other(40)


async def test_bodies_without_end_take_no_more_than_their_keys_share() -> None:
    async def endless(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while path == "/endless":
            writer.write(bytes(1000))
            await writer.drain()
        writer.write(b"picture")

    limits = replace(LIMITS, max_bytes=10_000_000, max_total_bytes=3_000_000)
    one = Caller("key 0", limits=KeyLimits(url_max_bytes_per_key=2_000_000))
    async with host(endless) as port, PictureFetcher(limits, LOOPBACK) as fetcher:
        url = f"http://127.0.0.1:{port}/endless"
        found = await asyncio.gather(*(fetcher.picture(url, one) for _ in range(10)), return_exceptions=True)
        assert {type(each) for each in found} <= {Overloaded, InvalidFields}
        assert any(isinstance(each, Overloaded) for each in found)
        assert fetcher.nbytes == 0
        assert await fetcher.picture(f"http://127.0.0.1:{port}/good", one) == b"picture"
