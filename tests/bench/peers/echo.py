"""A grpc.aio server that sends a fixed number of bytes back: the least that any such server costs."""

from __future__ import annotations

import asyncio
import json
import sys

import grpc

METHOD = "/bench.Echo/Call"


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """Answers every method."""

    def __init__(self, nbytes: int) -> None:
        self._reply = bytes(nbytes)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """The handler: bytes in, bytes out."""
        return grpc.unary_unary_rpc_method_handler(self._call)

    async def _call(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return self._reply


async def main(nbytes: int) -> None:
    """Serve until ended."""
    server = grpc.aio.server(handlers=(Echo(nbytes),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "listening", "port": port}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
