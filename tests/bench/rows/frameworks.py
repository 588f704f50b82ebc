"""demo-clip beside LitServe and Ray Serve: the same model, the same threads, 32 clients."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.bench.children import Child
from tests.bench.figures import Claim, Row, Side
from tests.bench.stand import Stand
from tests.servers import KEY

CLIENTS = 32
ARGS = {"model": "demo-clip"}
KINDS = (("text", 2.0, "texts"), ("embed", 1.1, "pictures of 192x192"))
MOST_RATE = 3000
"""Texts a second that are made beforehand: featsvc knows a text that it was asked lately."""
Peer = tuple[str, str, str, int, str]
PEERS: tuple[Peer, ...] = (
    ("ray", "ray", "peers.ray_serve", 16, "Ray Serve, batches of 16"),
    ("litserve", "litserve", "peers.lit", 1, "LitServe"),
    ("litserve", "litserve_batches", "peers.lit", 16, "LitServe, batches of 16"),
)
"""Package, end of the rows' names, module, batch size and label.

LitServe makes no batches unless it is told to: in a short run it is as it comes.
Ray is first and then gone, for its daemons cannot be paused.
"""
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # A proxy that is not ready after 5 s would be killed, and a busy machine takes longer for each.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "50",
}


def rates_beside(stand: Stand) -> list[Row]:
    """Texts and small pictures."""
    rows: list[Row] = []
    peers = PEERS[:2] if stand.pace.quick else PEERS
    running = _started(stand, peers)
    for _, name, _, _, label in peers:
        peer = running.pop(name, None)
        if peer is None:
            reason = f"pip install '.[bench]' at the top of a clone brings {label}, as make bench does"
            rows += [Claim(f"{ask}_vs_{name}", what, target).missing(reason) for ask, target, what in KINDS]
            continue
        with peer, contextlib.ExitStack() as others:
            for other in running.values():
                others.enter_context(other.paused())
            rows += _beside(stand, name, label, peer)
    return rows


def _started(stand: Stand, peers: tuple[Peer, ...]) -> dict[str, Child]:
    """The peers that are installed, by name; started side by side, for they take long to come up."""
    with ThreadPoolExecutor(len(peers)) as threads:
        coming = {
            name: threads.submit(stand.child, module, stand.threads, batch, 1, **RAY_ENVIRONMENT)
            for package, name, module, batch, _ in peers
            if importlib.util.find_spec(package)
        }
        return {name: each.result() for name, each in coming.items()}


def _beside(stand: Stand, name: str, label: str, peer: Child) -> list[Row]:
    server, rows = stand.demo, []
    url = f"http://127.0.0.1:{peer.about['port']}"
    for ask, target, what in KINDS:
        seconds = stand.pace.seconds
        distinct = int(MOST_RATE * seconds) if ask == "text" else 64
        spec = {"clients": CLIENTS, "seconds": seconds, "warm": CLIENTS, "distinct": distinct}

        def fresh(distinct: int = distinct) -> int:
            return stand.fresh(distinct)

        def ours(ask: str = ask, spec: dict[str, float] = spec, fresh: Callable[[], int] = fresh) -> float:
            # Some servers poll while nobody asks: that would count against the one that is asked.
            with peer.paused():
                return float(stand.grpc(server, ask, ARGS, first=fresh(), **spec)["rate"])

        def over_rest(
            ask: str = ask, spec: dict[str, float] = spec, fresh: Callable[[], int] = fresh
        ) -> float:
            with peer.paused():
                answer = stand.http(server.url("clip"), ask, ARGS, key=KEY, first=fresh(), **spec)
            return float(answer["rate"])

        def theirs(ask: str = ask, spec: dict[str, float] = spec, fresh: Callable[[], int] = fresh) -> float:
            return float(stand.http(url, ask, ARGS, first=fresh(), **spec)["rate"])

        sides = [("featsvc gRPC", ours), (label, theirs), ("featsvc REST", over_rest)]
        found: list[Side] = stand.alternated(*sides[: 2 if stand.pace.quick else 3])
        claim = Claim(f"{ask}_vs_{name}", f"demo-clip, {what}, {CLIENTS} clients", target)
        note = f"featsvc over REST: {found[2].median:.0f}/s" if found[2:] else ""
        rows.append(claim.rates(found[0], found[1], note))
    return rows
