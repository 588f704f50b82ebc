"""What no other try will mend says so over REST, and why."""

from __future__ import annotations

import grpc
import pytest

from rest_shim.errors import http_error
from tests.rest.fake_gateway import FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
EXTRACT = "ClipService/ExtractFeatures"


@pytest.mark.parametrize("reason", ["reply-too-large", "request-too-large", "out-of-memory"])
async def test_what_is_too_large_is_413_and_not_worth_a_retry(
    ports: Shim, gateway: FakeGateway, reason: str
) -> None:
    gateway.fail(
        EXTRACT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "features: 9 GB; ask for less",
        ("featsvc-reason", reason),
    )
    response = await ports.post("clip", "/extract", {"image": PICTURE})
    assert response.status_code == 413
    assert response.json() == {"detail": "features: 9 GB; ask for less"}
    assert response.headers["x-featsvc-reason"] == reason
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("code", "status"), [(grpc.StatusCode.INTERNAL, 500), (grpc.StatusCode.UNAVAILABLE, 503)]
)
async def test_what_no_other_try_will_mend_says_so_and_why_whatever_its_status(
    ports: Shim, gateway: FakeGateway, code: grpc.StatusCode, status: int
) -> None:
    words = "two workers died with this request"
    gateway.fail(EXTRACT, code, words, ("featsvc-reason", "killed-workers"), ("retry-after-ms", "100"))
    response = await ports.post("clip", "/extract", {"image": PICTURE})
    assert (response.status_code, response.json()) == (status, {"detail": words})
    assert response.headers["x-featsvc-reason"] == "killed-workers"
    assert "retry-after" not in response.headers


async def test_a_request_over_grpcs_own_limit_is_413() -> None:
    async with fake_gateway(max_receive_bytes=1000) as fake, shim(fake.target) as ports:
        response = await ports.post("clip", "/extract", {"image": "aGVs" * 1000})
        assert response.status_code == 413
        assert "message larger than max" in response.json()["detail"]
        assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("Received", "request"),
        ("SERVER: Received", "request"),
        ("CLIENT: Sent", "request"),
        ("Sent", "reply"),
        ("CLIENT: Received", "reply"),
        ("trying: sent", "reply"),
    ],
)
async def test_a_message_over_any_limit_of_grpc_is_413(words: str, what: str) -> None:
    message = f"{words} message larger than max (70000000 vs. 67108864)"
    found = http_error(from_grpc_itself(message))
    assert (found.status, found.headers) == (413, {"X-Featsvc-Reason": f"{what}-too-large"})


def from_grpc_itself(message: str) -> grpc.aio.AioRpcError:
    """Without the request id that the gateway puts on each of its own."""
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, nothing, nothing, message)
