"""One call as the services see it."""

from __future__ import annotations

import asyncio
import re
import time

import grpc
from google.protobuf.message import Message as ProtoMessage

from featsvc.errors import Abandoned
from featsvc.server.joined import Reply, encoded

REQUEST_ID = re.compile(r"[\w.:-]{1,64}")


class Call:
    """Who asks, until when, and where the messages of a streamed answer go."""

    def __init__(self, method: str, context: grpc.aio.ServicerContext, own_id: str) -> None:
        self.method = method
        asked = self.authorization = ""
        for name, value in context.invocation_metadata() or ():
            if name == "authorization":
                self.authorization = str(value)
            elif name == "x-request-id":
                asked = str(value)
        self.is_named = bool(asked and REQUEST_ID.fullmatch(asked))
        """Whether the caller has given the request id."""
        self.request_id = asked if self.is_named else own_id
        self.caller = ""
        """Tells the keys apart; empty where no key was asked for."""
        remaining = context.time_remaining()
        self.began = time.monotonic()
        self.deadline = None if remaining is None else self.began + float(remaining)
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0
        self._context = context
        self._writing: asyncio.Lock | None = None

    async def write(self, reply: Reply | ProtoMessage) -> None:
        """Sends one message of a streamed answer when the caller takes it; raises Abandoned where it has left."""
        message = await encoded(reply)
        self._writing = self._writing or asyncio.Lock()
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
