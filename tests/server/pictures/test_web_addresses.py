"""Addresses as people write them reach the host as a browser would send them."""

from __future__ import annotations

import asyncio

import pytest

from featsvc.server.pictures.fetch import PictureFetcher
from featsvc.server.pictures.web_addresses import encoded
from tests.server.pictures.test_fetch import LIMITS, LOOPBACK, host, refused, reply


# What Chromium shows of `new URL(…).href`.
@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://example.com/a.png", "https://example.com/a.png"),
        ("https://example.com/Äpfel & Birnen.jpg", "https://example.com/%C3%84pfel%20&%20Birnen.jpg"),
        (
            "https://example.com/写真.png?größe=1 2#oben",
            "https://example.com/%E5%86%99%E7%9C%9F.png?gr%C3%B6%C3%9Fe=1%202",
        ),
        ("https://example.com/a%20b%C3%A9.png?c=%2F", "https://example.com/a%20b%C3%A9.png?c=%2F"),
        ("https://example.com/{id}/a|b[1]'.png", "https://example.com/%7Bid%7D/a%7Cb[1]'.png"),
        ("https://example.com/?q='<\"x\">'", "https://example.com/?q=%27%3C%22x%22%3E%27"),
        ("  https://example.com/a.png\n", "https://example.com/a.png"),
        ("https://exam\nple.com/a\t.png", "https://example.com/a.png"),
        ("https:\\\\example.com\\a.png?b\\c", "https://example.com/a.png?b\\c"),
        ("https://bücher.example/a.png", "https://xn--bcher-kva.example/a.png"),
        ("https://BÜCHER.example:8443/", "https://xn--bcher-kva.example:8443/"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),
        ("https://例え。テスト/a", "https://xn--r8jz45g.xn--zckzah/a"),
        ("http://exa%6Dple.com/", "http://example.com/"),
        ("http://[2606:4700::1]:8080/a b", "http://[2606:4700::1]:8080/a%20b"),
        ("https://my_host.example/a", "https://my_host.example/a"),
    ],
)
def test_an_address_is_encoded_as_a_browser_does(written: str, sent: str) -> None:
    assert encoded(written) == sent
    assert encoded(sent) == sent


def test_full_width_digits_are_the_address_that_they_mean() -> None:
    # So that what is judged is what is connected to.
    assert encoded("http://１２７．０．０．１/") == "http://127.0.0.1/"


@pytest.mark.parametrize(
    "written", ["http://us\u00e9r@example.com/", "http://example.com:8\u00e9/", "http://a:\uff18/"]
)
def test_what_cannot_be_ascii_is_no_address(written: str) -> None:
    with pytest.raises(ValueError, match="other letters"):
        encoded(written)


@pytest.mark.parametrize(
    "written",
    [
        "http://exa℀mple.com/",
        "http://a%2Fb/",
        "http://a%00b/",
        "http://\u00ad/",
        "http://ex ample.com/ü",
        "http://[::1",
        "http://example.com:8x/",
        "http://example.com:８０/",
        "http://example.com:80é/",
    ],
)
async def test_what_is_no_address_is_refused_as_such(written: str) -> None:
    async with PictureFetcher(LIMITS, LOOPBACK) as fetcher:
        assert "must be an http or https address" in await refused(fetcher, written)


async def test_blanks_and_other_letters_in_addresses_and_redirects_are_encoded() -> None:
    asked: list[str] = []

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        asked.append(path)
        place = "Location: /Grün & blau/a b.png?q=ü".encode()
        moved = reply("302 Found").replace(b"Connection: close", b"Connection: close\r\n" + place)
        writer.write(moved if path.startswith("/first") else reply("200 OK", b"picture"))

    async def to_loopback(name: str, port: int) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"]

    async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK, to_loopback) as fetcher:
        assert await fetcher.picture(f"http://bücher.example:{port}/first/写真 1.png") == b"picture"
    assert asked == [
        "xn--bcher-kva.example",
        "/first/%E5%86%99%E7%9C%9F%201.png",
        "xn--bcher-kva.example",
        "/Gr%C3%BCn%20&%20blau/a%20b.png?q=%C3%BC",
    ]


async def test_a_redirect_in_an_old_encoding_is_followed_byte_by_byte() -> None:
    asked: list[str] = []

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        asked.append(path)
        moved = reply("302 Found").replace(b"Connection: close", b"Connection: close\r\nLocation: /\xfc.png")
        writer.write(moved if path == "/first" else reply("200 OK", b"picture"))

    async with host(answer) as port, PictureFetcher(LIMITS, LOOPBACK) as fetcher:
        assert await fetcher.picture(f"http://127.0.0.1:{port}/first") == b"picture"
    assert asked == ["/first", "/%FC.png"]
