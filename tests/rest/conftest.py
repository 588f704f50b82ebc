"""A fake gateway and the three ports before it, for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.rest.fake_gateway import FakeGateway, fake_gateway
from tests.rest.shim import Shim, shim


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway() as fake:
        yield fake


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ports(shared_gateway: FakeGateway) -> AsyncIterator[Shim]:
    async with shim(shared_gateway.target, max_request_bytes=1_000_000, max_json_bytes=1_000_000) as running:
        yield running


@pytest.fixture
def gateway(shared_gateway: FakeGateway) -> FakeGateway:
    """The fake gateway, as new."""
    shared_gateway.reset()
    return shared_gateway
