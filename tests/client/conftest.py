"""Each test of the gRPC clients runs with the blocking one and with the asyncio one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, RetryPolicy

from tests.client.streaming import Streamed, awaiting, blocking

QUICK = RetryPolicy(first_delay_s=0.001, max_delay_s=0.002)

Ask = Callable[..., Any]


def ask(target: str, method: str, *args: Any, client: dict[str, Any], **named: Any) -> Any:
    """One call of the blocking client."""
    with FeatsvcClient(target, **client) as connected:
        return getattr(connected, method)(*args, **named)


def ask_async(target: str, method: str, *args: Any, client: dict[str, Any], **named: Any) -> Any:
    """One call of the asyncio client."""

    async def call() -> Any:
        async with AsyncFeatsvcClient(target, **client) as connected:
            return await getattr(connected, method)(*args, **named)

    return asyncio.run(call())


@pytest.fixture(params=[ask, ask_async], ids=["blocking", "asyncio"])
def asked(request: pytest.FixtureRequest) -> Ask:
    def call(target: str, method: str, *args: Any, client: dict[str, Any] | None = None, **named: Any) -> Any:
        return request.param(target, method, *args, client={"retry": QUICK, **(client or {})}, **named)

    return call


@pytest.fixture(params=[blocking, awaiting], ids=["blocking", "asyncio"])
def streamed(request: pytest.FixtureRequest) -> Streamed:
    def call(target: str, method: str, *args: Any, client: dict[str, Any] | None = None, **named: Any) -> Any:
        return request.param(target, method, *args, client={"retry": QUICK, **(client or {})}, **named)

    return call
