"""A gateway in front of the real one that refuses every other call and breaks every other stream off."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

RETRY_AFTER_MS = 20
# grpc is untyped, hence Any in this module.
Context = Any


class Unreliable(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """Hands calls on as they are. Of three calls of a method one is told to come back, one breaks off, one succeeds."""

    def __init__(self, upstream: grpc.Channel) -> None:
        self._upstream = upstream
        self._counts: dict[str, Iterator[int]] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The same for every method: on the wire all are streams both ways."""
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: self._answers(details.method, requests, context)
        )

    def _answers(self, method: str, requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        turn = next(self._counts.setdefault(method, itertools.count())) % 3
        if turn == 0:
            context.set_trailing_metadata((("retry-after-ms", str(RETRY_AFTER_MS)),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "come back later")
        metadata = [pair for pair in context.invocation_metadata() if pair[0] == "authorization"]
        call = self._upstream.stream_stream(method)(requests, metadata=metadata)
        context.add_callback(call.cancel)
        try:
            for message in call:
                yield message
                if turn == 1:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata())
            context.abort(error.code(), error.details())


@contextmanager
def unreliable(target: str) -> Iterator[str]:
    """Address of an unreliable gateway in front of the one at `target`."""
    with grpc.insecure_channel(target, (("grpc.max_receive_message_length", -1),)) as upstream:
        server = grpc.server(ThreadPoolExecutor(8), (Unreliable(upstream),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
