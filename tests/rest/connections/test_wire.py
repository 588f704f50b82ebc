"""HTTP/1.1 as it arrives: offers of other protocols, requests in a row, framing, and what is no HTTP at all."""

from __future__ import annotations

import asyncio
import base64
import gzip
import shutil
import zlib

import orjson
import pytest

from tests.rest.fake_gateway import KEY, FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, PICTURE_BYTES, Shim, shim
from tests.rest.wire import chunked, get, question, request, wire

pytestmark = pytest.mark.asyncio(loop_scope="session")
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==")


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
async def test_an_offer_of_another_protocol_is_passed_over(
    ports: Shim, gateway: FakeGateway, offer: tuple[str, ...]
) -> None:
    async with wire(ports) as line:
        await line.send(request(question(), *offer))
        answered = await line.answer()
        assert answered.status == 200
        assert "upgrade" not in answered.headers
        # The connection is as good as before.
        await line.send(request(question()))
        assert (await line.answer()).status == 200
    assert [each.image.content for each in gateway.requests] == [PICTURE_BYTES] * 2


async def test_a_body_behind_an_offer_is_never_read_as_a_request(ports: Shim, gateway: FakeGateway) -> None:
    """Behind a proxy that reads it as a body, whoever wrote it would ask in another's name."""
    hidden = request(question(), target="/encode_image")
    async with wire(ports) as line:
        await line.send(request(hidden, *H2C))
        assert (await line.answer()).status == 422
        await line.send(request(question(), *H2C))
        assert (await line.answer()).status == 200
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_an_offer_is_passed_over_however_its_bytes_arrive(
    ports: Shim, gateway: FakeGateway, step: int
) -> None:
    content = request(None, "Transfer-Encoding: chunked", *H2C) + chunked(question()[:9], question()[9:])
    async with wire(ports) as line:
        await line.send(*(content[start : start + step] for start in range(0, len(content), step)))
        assert (await line.answer()).status == 200
    assert gateway.requests[0].image.content == PICTURE_BYTES


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_that_offers_http2_is_answered(ports: Shim, gateway: FakeGateway) -> None:
    process = await asyncio.create_subprocess_exec(
        "curl", "--http2", "-sS", "--max-time", "60", "-w", "\n%{http_code}", "-d", question(),
        "-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {KEY}", ports.url("clip", "/extract"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    answer, _ = await process.communicate()
    assert answer.endswith(b"\n200")
    assert gateway.requests[0].image.content == PICTURE_BYTES


JAVA = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] given) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(given[0]))
            .header("Content-Type", "application/json").header("Authorization", "Bearer " + given[1])
            .POST(HttpRequest.BodyPublishers.ofString(given[2])).build();
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 3; i++) {
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
        }
    }
}
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="needs a JDK")
async def test_the_jdks_client_is_answered_as_it_comes(ports: Shim, gateway: FakeGateway, tmp_path) -> None:  # type: ignore[no-untyped-def]
    source = tmp_path / "Ask.java"
    source.write_text(JAVA)
    process = await asyncio.create_subprocess_exec(
        "java",
        str(source),
        ports.url("clip", "/extract"),
        KEY,
        question().decode(),
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    assert answer.split() == [b"200"] * 3
    assert [each.image.content for each in gateway.requests] == [PICTURE_BYTES] * 3


async def test_requests_in_a_row_are_answered_in_their_order(ports: Shim, gateway: FakeGateway) -> None:
    async with wire(ports) as line:
        await line.send(
            get("/health") + request(question()) + get("/nowhere") + request(b"{", "Connection: keep-alive")
            + request(None, "Transfer-Encoding: chunked") + chunked(question()) + get("/openapi.json")
        )  # fmt: skip
        assert [(await line.answer()).status for _ in range(6)] == [200, 200, 404, 422, 200, 200]


async def test_nothing_is_asked_for_a_request_in_a_row_before_its_turn(
    ports: Shim, gateway: FakeGateway
) -> None:
    asked, _ = gateway.wait("ClipService/ExtractFeatures")
    async with wire(ports) as line:
        await line.send(request(question()) + request(question(), target="/encode_image"))
        await asyncio.wait_for(asked.wait(), 60)
        async with wire(ports) as other:
            await other.send(request(question(), target="/encode_image"))
            assert (await other.answer()).status == 200
        # The other's, and the one that waits.
        assert len(gateway.requests) == 2


SMUGGLED = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        request(None, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,
        request(None, "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n" + SMUGGLED,
        request(None, "Transfer-Encoding: xchunked") + b"0\r\n\r\n" + SMUGGLED,
        request(None, "Content-Length: 5", "Content-Length: 6") + b"12345" + SMUGGLED,
        request(None, "Content-Length: +5") + b"12345" + SMUGGLED,
        request(None, "Content-Length : 5") + b"12345" + SMUGGLED,
        request(None, "Transfer-Encoding: chunked") + b"-1\r\n" + SMUGGLED,
        request(None, "Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\n" + SMUGGLED,
        b"POST /extract HTTP/1.1\nHost: x\nContent-Length: 3\n\n{}\n" + SMUGGLED,
        get("/health", "X-A: b\x00c"),
    ],
    ids=lambda content: repr(content[-60:]) if isinstance(content, bytes) else None,
)
async def test_what_is_no_proper_request_has_a_detail_and_nothing_behind_it_is_read(
    ports: Shim, gateway: FakeGateway, content: bytes
) -> None:
    async with wire(ports) as line:
        await line.send(content)
        answered = await line.answer()
        assert answered.status in (400, 405)
        assert answered.headers["content-type"] == "application/json"
        assert isinstance(answered.detail, str)
        assert await line.end() == b""
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("follows", "statuses"),
    [
        (get("/nowhere") + b"nonsense\r\n\r\n", [200, 404]),
        (request(None, "Transfer-Encoding: chunked") + b"no number\r\n", [200]),
        (b"nonsense\r\n\r\n", [200]),
    ],
    ids=["a head", "a body", "at once"],
)
@pytest.mark.parametrize("framing", ["in chunks", "a head in two pieces"])
async def test_what_came_before_something_that_cannot_be_read_is_answered(
    ports: Shim, gateway: FakeGateway, framing: str, follows: bytes, statuses: list[int]
) -> None:
    async with wire(ports) as line:
        if framing == "in chunks":
            await line.send(request(None, "Transfer-Encoding: chunked") + chunked(question()) + follows)
        else:
            content = request(question())
            end_of_head = content.index(b"\r\n\r\n") + 3
            await line.send(content[:end_of_head])
            async with wire(ports) as other:
                await other.send(get())
                await other.answer()
            await line.send(content[end_of_head:] + follows)
        assert [(await line.answer()).status for _ in statuses] == statuses
        # Its end comes with the last answer, and not when an idle connection would be closed.
        end = await line.end()
        assert end == b"" or end.startswith(b"HTTP/1.1 400 "), end


async def test_trailers_do_not_become_headers(ports: Shim, gateway: FakeGateway) -> None:
    content = (
        request(None, "Transfer-Encoding: chunked")
        + chunked(question())[:-2]
        + b"X-Request-Id: theirs\r\n\r\n"
    )
    async with wire(ports) as line:
        await line.send(content)
        answered = await line.answer()
        assert answered.status == 200
        assert answered.headers["x-request-id"] != "theirs"
        await line.send(get())
        assert (await line.answer()).status == 200


@pytest.mark.parametrize("path", ["/health", "/docs", "/openapi.json"])
async def test_head_is_answered_as_get_without_its_body(ports: Shim, gateway: FakeGateway, path: str) -> None:
    asked = await ports.client.get(ports.url("clip", path))
    async with wire(ports) as line:
        await line.send(request(None, target=path, key=None, method="HEAD") + get("/health"))
        answered = await line.answer(of_head=True)
        assert answered.status == 200
        assert answered.headers["content-type"] == asked.headers["content-type"]
        assert int(answered.headers["content-length"]) > 0
        assert (await line.answer()).status == 200


async def test_head_of_what_only_takes_questions_is_405(ports: Shim, gateway: FakeGateway) -> None:
    assert (await ports.client.head(ports.url("clip", "/extract"))).status_code == 405


@pytest.mark.parametrize("path", ["/extract/", "/health/", "/docs/"])
async def test_a_slash_too_many_is_redirected_within_any_prefix(
    ports: Shim, gateway: FakeGateway, path: str
) -> None:
    method = "POST" if path == "/extract/" else "GET"
    answered = await ports.client.request(method, ports.url("clip", path))
    assert answered.status_code == 307
    # Relative: a proxy's scheme, host and prefix hold on.
    assert answered.headers["location"] == f"..{path.rstrip('/')}"
    assert str(answered.url.join(answered.headers["location"])) == ports.url("clip", path.rstrip("/"))


async def test_a_redirect_keeps_the_query(ports: Shim, gateway: FakeGateway) -> None:
    answered = await ports.client.get(ports.url("clip", "/health/?a=1&b=%20"))
    assert answered.headers["location"] == "../health?a=1&b=%20"


async def test_a_path_that_is_not_there_is_no_redirect(ports: Shim) -> None:
    assert (await ports.client.get(ports.url("clip", "/nowhere/"))).status_code == 404


@pytest.mark.parametrize("sent", ["/extract", "/tools/featsvc/extract"], ids=["taken off", "left on"])
async def test_behind_a_prefix_paths_are_found_whether_or_not_the_proxy_takes_it_off(
    gateway: FakeGateway, sent: str
) -> None:
    async with shim(gateway.target, root_path="/tools/featsvc") as ports:
        assert (await ports.post("clip", sent, {"image": PICTURE})).status_code == 200
        redirected = await ports.client.post(ports.url("clip", f"{sent}/"), json={})
        assert redirected.headers["location"] == "../extract"


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("Deflate", zlib.compress)]
)
async def test_a_packed_body_is_unpacked(ports: Shim, gateway: FakeGateway, coding: str, pack) -> None:  # type: ignore[no-untyped-def]
    answered = await ports.raw("clip", "/extract", pack(question()), Content_Encoding=coding)
    assert answered.status_code == 200
    assert gateway.requests[0].image.content == PICTURE_BYTES


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "rot13"])
async def test_another_coding_is_named_in_a_415(ports: Shim, gateway: FakeGateway, coding: str) -> None:
    answered = await ports.raw("clip", "/extract", question(), Content_Encoding=coding)
    assert answered.status_code == 415
    assert coding in answered.json()["detail"]
    assert "gzip" in answered.headers["accept-encoding"]


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"more", gzip.compress(b"{}") * 2],
    ids=["empty", "other", "cut off", "more behind it", "two"],
)
async def test_a_body_that_is_not_what_its_coding_says_is_400(
    ports: Shim, gateway: FakeGateway, content: bytes
) -> None:
    answered = await ports.raw("clip", "/extract", content, Content_Encoding="gzip")
    assert answered.status_code == 400
    assert isinstance(answered.json()["detail"], str)


async def test_a_packed_body_is_bounded_by_what_it_unpacks_to(ports: Shim, gateway: FakeGateway) -> None:
    for unpacked, status in ((b" " * 1_000_001, 413), (question() + b" " * 900_000, 200)):
        answered = await ports.raw("clip", "/extract", gzip.compress(unpacked), Content_Encoding="gzip")
        assert answered.status_code == status


async def test_a_byte_order_mark_is_no_mistake(ports: Shim, gateway: FakeGateway) -> None:
    answered = await ports.raw("clip", "/extract", b"\xef\xbb\xbf" + question())
    assert answered.status_code == 200


async def test_a_large_body_arrives_whole_however_it_is_framed() -> None:
    image = bytes(range(256)) * 40_000
    body = orjson.dumps({"image": base64.b64encode(image).decode()})
    pieces = [body[start : start + 70_001] for start in range(0, len(body), 70_001)]
    async with fake_gateway() as fake, shim(fake.target) as ports, wire(ports) as line:
        await line.send(request(None, f"Content-Length: {len(body)}"), *pieces)
        assert (await line.answer()).status == 200
        await line.send(request(None, "Transfer-Encoding: chunked"), chunked(*pieces))
        assert (await line.answer()).status == 200
        assert [each.image.content == image for each in fake.requests] == [True, True]
