"""CLIP: the server beside the bare network, and texts beside the plain server."""

from __future__ import annotations

import statistics

from tests.bench.figures import Claim, Row, Side
from tests.bench.stand import Stand
from tests.bench.weights import CLIP
from tests.servers import Server

PHOTO = {"model": CLIP, "width": 640, "height": 480}
MOST_ADDED_MS = 3.0
PAUSE_S = 0.003


def dense(stand: Stand) -> list[Row]:
    """Dense features at 224, eight clients."""
    server, seconds = stand.real, max(1.5, stand.pace.seconds)
    ours, theirs = stand.alternated(
        (
            "featsvc gRPC, 8 clients",
            lambda: stand.grpc(server, "dense", PHOTO, clients=8, seconds=seconds, warm=2)["rate"],
        ),
        (
            "bare loop, float32",
            lambda: stand.bare.ask(do="dense", model=CLIP, args=PHOTO, seconds=seconds)["rate"],
        ),
    )
    what = "CLIP ViT-B-16 dense at 224 of 640x480 JPEGs, 8 clients"
    return [Claim("clip_dense_vs_bare", what, 0.95).rates(ours, theirs, "decoding included on both sides")]


def added_latency(stand: Stand) -> list[Row]:
    """What one client waits longer than a bare call takes."""
    server, rows = stand.demo, []
    for ask, target in (("text", "a text"), ("embed", "a picture of 192x192")):
        args = {"model": "demo-clip"}

        def served(ask: str = ask, args: dict[str, str] = args) -> float:
            first = stand.fresh()
            count = stand.pace.requests
            answer = stand.grpc(server, ask, args, clients=1, count=count, warm=20, first=first)
            return statistics.median(answer["latencies"])

        def bare(ask: str = ask, **more: float) -> float:
            spec = {"model": "demo-clip", "ask": ask, "count": stand.pace.requests, "first": stand.fresh()}
            return statistics.median(stand.bare.ask(do="latency", **spec, **more)["latencies"])

        both = stand.alternated(
            ("featsvc gRPC, 1 client", served), ("bare call", bare), repetitions=stand.pace.repetitions + 1
        )
        added = both[0].median - both[1].median
        side = Side("added by featsvc", added, both[0].low - both[1].median, both[0].high - both[1].median, 1)
        # Between two questions of one client a server has nothing to do, and its processor's caches go to others.
        rested = f"the bare call after a pause of {1000 * PAUSE_S:g} ms: {bare(pause_s=PAUSE_S):.2f} ms"
        row = Claim(f"added_latency_{ask}", f"demo-clip, one client, {target}", MOST_ADDED_MS).limit(
            side, "ms", rested
        )
        rows.append(
            Row(
                **{**row.__dict__, "sides": (side, *both)}  # the two medians it comes from
            )
        )
    return rows


def texts(stand: Stand) -> list[Row]:
    """Texts that nobody has asked before, 32 clients."""
    seconds = stand.pace.seconds
    args = {"model": CLIP}

    def served(server: Server) -> float:
        answer = stand.grpc(server, "text", args, clients=32, seconds=seconds, warm=4, first=stand.fresh())
        return float(answer["rate"])

    def bare() -> float:
        answer = stand.bare.ask(do="texts", model=CLIP, batch=8, seconds=seconds, first=stand.fresh())
        return float(answer["rate"])

    def plain() -> float:
        url = f"http://127.0.0.1:{stand.plain.about['port']}"
        answer = stand.http(url, "text", args, clients=32, seconds=seconds, warm=4, first=stand.fresh())
        return float(answer["rate"])

    what = "distinct texts, ViT-B-16, 32 clients"
    full, half = stand.real, stand.bf16
    ours, bare_side, plain_side, halved = stand.alternated(
        ("featsvc gRPC fp32", lambda: served(full)),
        ("bare loop of 8", bare),
        ("plain FastAPI", plain),
        ("featsvc gRPC bf16", lambda: served(half)),
        slow="plain FastAPI",
    )
    note = "the plain server builds its tokenizer at every call"
    return [
        Claim("texts_vs_bare", what, 0.9).rates(ours, bare_side, "tokenizing included on both sides"),
        Claim("texts_vs_plain_fp32", what, 1.7).rates(ours, plain_side, note),
        Claim("texts_vs_plain_bf16", what, 5).rates(halved, plain_side),
    ]
