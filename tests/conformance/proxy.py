"""Gateways in front of the real one, which hand calls on, and what may go wrong on the way."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

RETRY_AFTER_MS = 20
# grpc is untyped, hence Any in this module.
Context = Any


class Forwarding(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """Hands every call on as it is. On the wire all are streams both ways."""

    def __init__(self, upstream: grpc.Channel) -> None:
        self._upstream = upstream

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The same for every method."""
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: self.answers(details.method, requests, context)
        )

    def answers(self, method: str, requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        """The messages of an answer; a failure is handed on with all that stands beside it."""
        metadata = [pair for pair in context.invocation_metadata() if pair[0] == "authorization"]
        call = self._upstream.stream_stream(method)(requests, metadata=metadata)
        context.add_callback(call.cancel)
        try:
            yield from call
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata())
            context.abort(error.code(), error.details())


class Unreliable(Forwarding):
    """Half the calls of a method are told to come back; the others break off after a message, or succeed, by turns."""

    def __init__(self, upstream: grpc.Channel) -> None:
        super().__init__(upstream)
        self._counts: dict[str, Iterator[int]] = {}

    def answers(self, method: str, requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        """Refuses, breaks off or hands on."""
        turn = next(self._counts.setdefault(method, itertools.count())) % 4
        if turn in (0, 2):
            context.set_trailing_metadata((("retry-after-ms", str(RETRY_AFTER_MS)),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "come back later")
        for message in super().answers(method, requests, context):
            yield message
            if turn == 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")


def nobody_there(address: str) -> None:
    """Returns when clients have come to an address in vain, twice."""
    host, port = address.split(":")
    with socket.create_server((host, int(port))) as listener:
        listener.settimeout(60)
        for _ in range(2):
            listener.accept()[0].close()


@contextmanager
def in_front_of(target: str, kind: Callable[[grpc.Channel], Forwarding]) -> Iterator[str]:
    """Address of such a gateway in front of the one at `target`."""
    with grpc.insecure_channel(target, (("grpc.max_receive_message_length", -1),)) as upstream:
        server = grpc.server(ThreadPoolExecutor(8), (kind(upstream),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
