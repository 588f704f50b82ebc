"""A process that is being started does nothing of gRPC's: its threads, started anew before the program, could hang."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKED = """
import asyncio, os, sys
sys.argv = ["it", "--help"]
try:
    {begin}
except SystemExit:
    pass
import grpc
async def forked():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        print("threads", len(os.listdir("/proc/self/task")), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    await server.stop(None)
asyncio.run(forked())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are looked up in /proc")
@pytest.mark.parametrize(
    "begin",
    [
        "from featsvc.__main__ import main; main()",
        "from rest_shim.processes.entry import run; run()",
    ],
)
def test_a_process_on_its_way_has_one_thread(begin: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORKED.format(begin=begin)], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.splitlines()[-1] == "threads 1", ended.stderr
