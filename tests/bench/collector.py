"""Takes traces and forgets them: `python -m tests.bench.collector`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Collector(grpc.GenericRpcHandler):
    """Answers every batch of spans with an empty message."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:  # Any: grpc is untyped
        """The handler of the one method."""
        return grpc.unary_unary_rpc_method_handler(self._taken) if details.method == EXPORT else None

    async def _taken(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return b""


async def main() -> None:
    """Serves until the caller is gone."""
    server = grpc.aio.server(handlers=(Collector(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "listening", "port": port}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
