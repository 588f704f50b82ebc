"""The shim's connections to a gateway that goes and comes back."""

from __future__ import annotations

import grpc
import pytest

from rest_shim.call.gateway import CONNECTIONS, GatewayClient
from tests.rest.fake_gateway import fake_gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_gateway_that_is_back_for_one_connection_is_back_for_all() -> None:
    async with fake_gateway() as fake:
        port = fake.port
    gateway = GatewayClient(f"127.0.0.1:{port}", timeout_s=60)
    try:
        for _ in range(CONNECTIONS):
            with pytest.raises(grpc.aio.AioRpcError):
                await gateway.status()
        async with fake_gateway(port):
            while not await is_there(gateway):
                pass
            # Each connection waits for its own time to try again; until then it would refuse its calls.
            for _ in range(8 * CONNECTIONS):
                await gateway.status()
    finally:
        await gateway.close()


async def is_there(gateway: GatewayClient) -> bool:
    try:
        await gateway.status()
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True
