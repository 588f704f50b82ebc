"""One call as the services see it."""

from __future__ import annotations

import asyncio
import re
import secrets
import time

import grpc
from google.protobuf.message import Message as ProtoMessage

from featsvc.errors import Abandoned
from featsvc.server.joined import Reply, encoded

REQUEST_ID = re.compile(r"[\w.:-]{1,64}")


class Call:
    """Who asks, until when, and where the messages of a streamed answer go."""

    def __init__(self, method: str, context: grpc.aio.ServicerContext) -> None:
        self.method = method
        metadata = dict(context.invocation_metadata() or ())
        asked = str(metadata.get("x-request-id", ""))
        self.request_id = asked if REQUEST_ID.fullmatch(asked) else secrets.token_hex(16)
        self.authorization = str(metadata.get("authorization", ""))
        self.caller = ""
        """Tells the keys apart; empty where no key was asked for."""
        remaining = context.time_remaining()
        self.began = time.monotonic()
        self.deadline = None if remaining is None else self.began + float(remaining)
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0
        self._context = context
        self._writing = asyncio.Lock()

    async def write(self, reply: Reply | ProtoMessage) -> None:
        """Sends one message of a streamed answer when the caller takes it; raises Abandoned where it has left."""
        message = await encoded(reply)
        async with self._writing:
            try:
                await self._context.write(message)
            except grpc.aio.InternalError:
                raise Abandoned("the caller has left") from None
        self.sent(message)

    def received(self, message: bytes) -> None:
        """Counts a message of the caller."""
        self.messages_in += 1
        self.bytes_in += len(message)

    def sent(self, message: bytes) -> None:
        """Counts a message to the caller."""
        self.messages_out += 1
        self.bytes_out += len(message)
