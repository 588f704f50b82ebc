"""64 MB of features over each wire, and small calls beside those who pull such replies."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.bench.children import Child, environment
from tests.bench.figures import Claim, Row, Side
from tests.bench.stand import FOLDER, Stand
from tests.servers import KEY

ARGS = {"model": "demo-clip"}
WHAT = "64 MiB of features (128x128x1024 float32) to a numpy array, one client"
NOTE = "both sides answer one precomputed array, because this is about the wire; plain is read with json and base64"
MOST_P99_MS, MOST_STEP_MS = 25.0, 5.0
PULLERS = 4


def large_reply(stand: Stand) -> list[Row]:
    """The plain server's JSON beside chunks of gRPC and raw bytes of REST."""
    gateway, client = stand.child("probed", stand.threads), stand.child("fetch")
    target, plain_url = f"127.0.0.1:{gateway.about['port']}", f"http://127.0.0.1:{stand.plain.about['port']}"
    shim = _shim(target)
    rest_url = f"http://127.0.0.1:{shim.about['clip_port']}"

    def side(do: str, **where: str) -> Callable[[], float]:
        return lambda: statistics.median(client.ask(do=do, count=3, **where)["latencies"])

    plain = ("plain FastAPI, JSON", side("plain", url=plain_url))
    ways = (
        ("large_chunked", "featsvc gRPC in chunks", 7.0, side("chunked", target=target)),
        ("large_octets", "featsvc REST octet-stream", 3.5, side("octets", url=rest_url)),
        ("large_unary", "featsvc gRPC, one message", 1.0, side("unary", target=target)),
    )
    # Clients take pieces by themselves over 1 MiB, so a quick run leaves the third way out.
    ways = ways[: 2 if stand.pace.quick else 3]
    try:
        *found, theirs = stand.alternated(*((label, measure) for _, label, _, measure in ways), plain)
    finally:
        for each in (shim, gateway, client):
            each.close()
    return [
        Claim(name, WHAT, goal).times(ours, theirs, "ms", NOTE)
        for (name, _, goal, _), ours in zip(ways, found, strict=True)
    ]


def _shim(target: str) -> Child:
    """The REST shim in front of a gateway, as `featsvc up` starts it."""
    ports = ("--no-page", "--clip-port=0", "--dino-port=0", "--sam2-port=0")
    flags = ["--host=127.0.0.1", f"--grpc-target={target}", *ports]
    return Child("rest_shim.serve", *flags, log=FOLDER / "shim.log", env=environment(1))


def beside_pullers(stand: Stand) -> list[Row]:
    """Small calls while four clients pull 64 MiB replies, and the longest step of the gateway's loop."""
    rows = []
    ways = (("chunked", "chunked", True), ("unary", "dense", False))
    # Clients take chunks by themselves over 1 MiB, so a quick run leaves the other way out.
    for name, ask, stream in ways[: 1 if stand.pace.quick else 2]:
        with stand.child("probed", stand.threads) as gateway:
            rows += _beside(stand, gateway, name, ask, stream)
    return rows


def _beside(stand: Stand, gateway: Child, name: str, ask: str, stream: bool) -> list[Row]:
    target, seconds = f"127.0.0.1:{gateway.about['port']}", max(3.0, stand.pace.seconds)
    common = {"target": target, "key": KEY, "args": ARGS, "do": "run"}
    p99, steps, clock, pulled, longest = [], [], [], [], []
    with ThreadPoolExecutor(1) as beside:
        for _ in range(stand.pace.repetitions):
            small = {**common, "ask": "text", "clients": 1, "first": stand.fresh()}
            stand.load.ask(**small, count=50)
            large = {**common, "ask": ask, "stream": stream, "clients": PULLERS, "channels": PULLERS}
            pulling = beside.submit(
                stand.more_load.ask, **large, seconds=seconds + 1, distinct=1, warm=PULLERS
            )
            gateway.ask(do="start")
            answer = stand.load.ask(**small, seconds=seconds)
            watch = gateway.ask(do="stop")
            pulled.append(pulling.result()["rate"])
            p99.append(float(np.percentile(answer["latencies"], 99)))
            steps.append(watch["longest_ms"])
            clock.append(watch["longest_by_clock_ms"])
            longest.append(str(watch["steps"][:1]))
    what = f"while {PULLERS} clients pull 64 MiB replies ({name})"
    speed = f"{statistics.median(pulled):.1f} such replies a second"
    loop = f"with the time that no processor was free {statistics.median(clock):.1f} ms; {longest[0]}"
    calls = Claim(f"beside_{name}_p99", f"p99 of small calls {what}", MOST_P99_MS)
    step = Claim(f"beside_{name}_step", f"longest step of the gateway's loop {what}", MOST_STEP_MS)
    return [
        calls.limit(Side.of("p99", p99), "ms", speed),
        step.limit(Side.of("held by the step", steps), "ms", loop),
    ]
