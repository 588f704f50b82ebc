"""The sockets that the ports listen on."""

from __future__ import annotations

import asyncio
import socket

from rest_shim.processes.serving import bound


async def test_small_pieces_of_a_reply_never_wait_for_an_acknowledgement() -> None:
    accepted = asyncio.Event()
    options: list[int] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = writer.get_extra_info("socket")
        options.append(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        accepted.set()
        writer.close()

    with bound("127.0.0.1", 0) as listening:
        async with await asyncio.start_server(connected, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            await asyncio.wait_for(accepted.wait(), 60)
            writer.close()
            await writer.wait_closed()
    # uvicorn sends head and body apart: with Nagle's algorithm the second waits 40 ms.
    assert options == [1]
