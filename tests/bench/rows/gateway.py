"""What the gateway adds to a small call, beside a server that only echoes."""

from __future__ import annotations

from tests.bench.figures import Claim, Row
from tests.bench.questions import grpc_bytes
from tests.bench.stand import Stand
from tests.servers import KEY

CLIENTS = 32
ARGS = {"model": "demo-clip"}


def small_call(stand: Stand) -> list[Row]:
    """A text of 50 bytes in, an embedding of 2 KB out; each side with 32 clients over 4 connections."""
    request = len(grpc_bytes("text", 0, ARGS))
    workerless = stand.child("probed", stand.threads, "--instant")
    through = stand.child("probed", stand.threads)
    spec = {"clients": CLIENTS, "seconds": stand.pace.seconds, "warm": 64}

    def served(port: int) -> float:
        answer = stand.load.ask(
            do="run", target=f"127.0.0.1:{port}", key=KEY, ask="text", args=ARGS, first=stand.fresh(), **spec
        )
        return float(answer["rate"])

    probe = stand.load.ask(
        do="run",
        target=f"127.0.0.1:{workerless.about['port']}",
        key=KEY,
        ask="text",
        args=ARGS,
        clients=1,
        count=8,
    )
    echo = stand.child("peers.echo", probe["bytes_in"] // 8)

    def echoed() -> float:
        answer = stand.load.ask(
            do="run",
            target=f"127.0.0.1:{echo.about['port']}",
            method="/bench.Echo/Call",
            sizes=request,
            **spec,
        )
        return float(answer["rate"])

    direct, whole, bare = stand.alternated(
        ("gateway without a worker", lambda: served(workerless.about["port"])),
        ("gateway and worker", lambda: served(through.about["port"])),
        ("bare grpc.aio echo", echoed),
    )
    for each in (workerless, through, echo):
        each.close()
    what = "EncodeText with authentication, checks and log"
    claim = Claim("small_call", f"{what}; over an echo with the same message sizes", 0.8)
    through_worker = whole.median / bare.median
    note = f"by way of a worker process that answers at once: {through_worker:.2f}"
    return [claim.rates(direct, bare, f"{CLIENTS} clients; {note}")]
