"""The port of the page: its files, the applications of the families below it, and what it tells of the server."""

from __future__ import annotations

import gzip
import re
from contextlib import AsyncExitStack

import grpc
import pytest

from featsvc.v1 import image_pb2, model_pb2
from rest_shim.app.page import FILES, PICTURES_AT_ONCE
from tests.rest.fake_gateway import KEY, KEY_OF_OTHERS, FakeGateway
from tests.rest.shim import Shim, shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
MOST_BYTES = 300 * 1024
KEYED = {"Authorization": f"Bearer {KEY}"}


async def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(ports: Shim) -> None:
    answer = await ports.client.get(ports.url("page", "/"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert not re.search(r"<script(?![^>]*src)|<style|style=| on\w+=|//", answer.text)
    for path in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        file = await ports.client.get(ports.url("page", f"/{path}"))
        assert file.status_code == 200
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["cache-control"] == "no-cache"


async def test_its_scripts_know_of_no_store_that_outlives_the_tab() -> None:
    scripts = "".join(each.read_text() for each in FILES.rglob("*.js"))
    assert "sessionStorage" in scripts
    for store in (
        "localStorage",
        "indexedDB",
        "document.cookie",
        "cookieStore",
        "caches.open",
        "serviceWorker",
    ):
        assert store not in scripts, store


async def test_all_files_together_are_small() -> None:
    files = [each for each in FILES.rglob("*") if each.is_file()]
    assert sum(len(gzip.compress(each.read_bytes())) for each in files) <= MOST_BYTES
    assert list((FILES / "pictures").glob("*.jpg"))


async def test_below_it_the_families_answer_as_on_their_own_ports(ports: Shim, gateway: FakeGateway) -> None:
    for path, body in (("clip/encode_text", {"text": "a"}), ("sam2/prompt_mask", {"image": "aGVsbG8="})):
        family, _, name = path.partition("/")
        here, there = await ports.post("page", f"/{path}", body), await ports.post(family, f"/{name}", body)
        assert (here.status_code, here.content) == (there.status_code, there.content) == (200, here.content)
    assert (await ports.client.get(ports.url("page", "/dino/health"))).status_code == 200
    document = (await ports.client.get(ports.url("page", "/dino/openapi.json"))).json()
    assert document["servers"] == [{"url": "/dino"}]
    assert "servers" not in (await ports.client.get(ports.url("dino", "/openapi.json"))).json()
    to_docs = await ports.client.get(ports.url("page", "/clip"), follow_redirects=True)
    assert to_docs.url.path == "/clip/docs"
    for path in ("/clip/nothing", "/nothing", "/assets/../page.py", "/sam3/health"):
        assert (await ports.client.get(ports.url("page", path))).status_code == 404


async def test_a_proxy_may_put_a_path_in_front(gateway: FakeGateway) -> None:
    async with shim(gateway.target, root_path="/tools") as ports:
        for path in ("/tools/", "/tools/assets/page.js", "/assets/page.js", "/tools/dino/health"):
            assert (await ports.client.get(ports.url("page", path))).status_code == 200
        document = (await ports.client.get(ports.url("page", "/tools/dino/openapi.json"))).json()
        assert document["servers"] == [{"url": "/tools/dino"}]


async def test_it_tells_the_state_to_whom_the_gateway_tells_it(ports: Shim, gateway: FakeGateway) -> None:
    model = model_pb2.Model(key="demo-clip", license="Apache-2.0", loaded_workers=1)
    gateway.replies["ModelService/ListModels"] = model_pb2.ListModelsResponse(models=[model])
    told = (await ports.client.get(ports.url("page", "/state.json"), headers=KEYED)).json()
    assert told["models"]["models"][0]["license"] == "Apache-2.0"
    assert told["status"]["workers"][0]["device"] == "cuda:1"
    answer = await ports.client.get(ports.url("page", "/state.json"))
    assert (answer.status_code, "API key missing" in answer.json()["detail"]) == (401, True)


async def test_a_picture_at_an_address_is_had_from_the_gateway_by_who_has_a_key(
    ports: Shim, gateway: FakeGateway
) -> None:
    where, params = ports.url("page", "/picture"), {"url": "https://example.com/ä b.gif?c=d&e"}
    answer = await ports.client.get(where, params=params, headers=KEYED)
    assert (answer.status_code, answer.content) == (200, b"GIF89a")
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["x-featsvc-digest"] == "sha256:0"
    assert answer.headers["x-content-type-options"] == "nosniff"
    (asked,) = gateway.requests
    assert asked == image_pb2.GetImageRequest(image=image_pb2.Image(url=params["url"]))
    gateway.fail(
        "ImageService/GetImage", grpc.StatusCode.INVALID_ARGUMENT, "image.url: host 'a' is not public"
    )
    answer = await ports.client.get(where, params=params, headers=KEYED)
    assert (answer.status_code, answer.json()) == (400, {"detail": "image_url: host 'a' is not public"})
    assert (await ports.client.get(where, params=params)).status_code == 401


async def test_pictures_go_to_no_page_of_another_origin_and_are_kept_by_nobody(
    ports: Shim, gateway: FakeGateway
) -> None:
    for path, params in (("/picture", {"url": "https://example.com/a.gif"}), ("/state.json", {})):
        where = ports.url("page", path)
        for site in ("cross-site", "same-site"):
            answer = await ports.client.get(where, params=params, headers=KEYED | {"Sec-Fetch-Site": site})
            assert answer.status_code == 403
        assert not gateway.requests
        for site in ("same-origin", "none"):
            answer = await ports.client.get(where, params=params, headers=KEYED | {"Sec-Fetch-Site": site})
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "private, no-store"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        gateway.requests.clear()


async def test_of_pictures_that_nobody_reads_a_key_has_few(ports: Shim, gateway: FakeGateway) -> None:
    # More than the buffers of sockets take.
    gateway.replies["ImageService/GetImage"] = image_pb2.GetImageResponse(
        content=bytes(16 * 1024**2), media_type="image/gif"
    )
    where, params = ports.url("page", "/picture"), {"url": "https://example.com/a.gif"}
    async with AsyncExitStack() as unread:
        for count in range(1, PICTURES_AT_ONCE + 1):
            answer = await unread.enter_async_context(
                ports.client.stream("GET", where, params=params, headers=KEYED)
            )
            assert (answer.status_code, len(gateway.requests)) == (200, count)
        refused = await ports.client.get(where, params=params, headers=KEYED)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "4 pictures are on their way to this key" in refused.json()["detail"]
        other = {"Authorization": f"Bearer {KEY_OF_OTHERS}"}
        assert (await ports.client.get(where, params=params, headers=other)).status_code == 200
        assert len(gateway.requests) == PICTURES_AT_ONCE + 1
    while (answer := await ports.client.get(where, params=params, headers=KEYED)).status_code == 429:
        pass
    assert answer.status_code == 200


async def test_it_fills_the_documented_key_in_where_that_works_and_no_other(gateway: FakeGateway) -> None:
    for keys, expected in (((), "smfeats"), (("of-my-own",), None)):
        async with shim(gateway.target, api_key=keys, max_request_bytes=1000) as ports:
            answer = await ports.client.get(ports.url("page", "/page.json"))
            assert answer.json() == {
                "documented_key": expected,
                "max_request_bytes": 1000,
                "grpc_port": gateway.port,
            }
