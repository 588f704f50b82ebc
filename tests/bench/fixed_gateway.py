"""A gateway whose workers answer 16 MiB of features at once: `python -m tests.bench.fixed_gateway POOL [ADDRESS]`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Literal

import uvloop

from featsvc.logs import setup
from featsvc.processes import tune
from featsvc.server.gateway import gateway
from featsvc.settings.tree import Settings
from tests.servers import KEY


async def main(pool: Literal["local", "ray"], ray_address: str = "") -> None:
    """Serve until the caller is gone."""
    settings = Settings(
        profile="demo",
        grpc_port=0,
        devices="cpu",
        threads=1,
        offline=True,
        pool=pool,
        ray_address=ray_address,
    )
    async with gateway(settings, (KEY,), engines="tests.bench.fixed:build_quarter") as running:
        tune()
        await running.pool.alive_change(0)
        print(json.dumps({"event": "listening", "port": running.port}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    setup("info")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main("ray" if sys.argv[1] == "ray" else "local", *sys.argv[2:]))
