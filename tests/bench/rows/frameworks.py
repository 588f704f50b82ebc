"""demo-clip beside LitServe and Ray Serve: the same model, the same threads, 32 clients."""

from __future__ import annotations

import importlib.util

from tests.bench.children import Child
from tests.bench.figures import Claim, Row, Side
from tests.bench.stand import Stand
from tests.servers import KEY

CLIENTS = 32
ARGS = {"model": "demo-clip"}
KINDS = (("text", 2.0, "texts"), ("embed", 1.1, "pictures of 192x192"))
LIT = (("peers.lit", (16, 1)), ("peers.lit", (1, 1)))
"""Batch size and workers of each endpoint; the best counts, by endpoint."""
RAY = (("peers.ray_serve", (16, 1)),)
RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


def rates_beside(stand: Stand) -> list[Row]:
    """Texts and small pictures."""
    rows: list[Row] = []
    for package, settings, label in (("litserve", LIT, "LitServe"), ("ray", RAY, "Ray Serve")):
        if importlib.util.find_spec(package) is None:
            rows += [
                Claim(f"{ask}_vs_{package}", what, target).missing(
                    f"pip install featsvc[bench] brings {label}, as make bench does"
                )
                for ask, target, what in KINDS
            ]
            continue
        found: dict[str, list[Row]] = {}
        # A quick run takes the form that did best in full ones, which stands first.
        for module, (batch, workers) in settings[: 1 if stand.pace.quick else None]:
            with stand.child(module, stand.threads, batch, workers, **RAY_ENVIRONMENT) as peer:
                for row in _beside(stand, package, f"{label}, batches of {batch}, {workers} worker", peer):
                    found.setdefault(row.name, []).append(row)
        # The form of the peer that does best against us.
        rows += [min(each, key=lambda row: row.ratio) for each in found.values()]
    return rows


def _beside(stand: Stand, package: str, label: str, peer: Child) -> list[Row]:
    server, rows = stand.demo, []
    url = f"http://127.0.0.1:{peer.about['port']}"
    for ask, target, what in KINDS:
        spec = {"clients": CLIENTS, "seconds": stand.pace.seconds, "warm": CLIENTS}

        def ours(ask: str = ask, spec: dict[str, float] = spec) -> float:
            return float(stand.grpc(server, ask, ARGS, first=stand.fresh(), **spec)["rate"])

        def over_rest(ask: str = ask, spec: dict[str, float] = spec) -> float:
            answer = stand.http(server.url("clip"), ask, ARGS, key=KEY, first=stand.fresh(), **spec)
            return float(answer["rate"])

        def theirs(ask: str = ask, spec: dict[str, float] = spec) -> float:
            return float(stand.http(url, ask, ARGS, first=stand.fresh(), **spec)["rate"])

        sides = [("featsvc gRPC", ours), (label, theirs), ("featsvc REST", over_rest)]
        found: list[Side] = stand.alternated(*sides[: 2 if stand.pace.quick else 3])
        claim = Claim(f"{ask}_vs_{package}", f"demo-clip, {what}, {CLIENTS} clients", target)
        note = f"featsvc over REST: {found[2].median:.0f}/s" if found[2:] else ""
        rows.append(claim.rates(found[0], found[1], note))
    return rows
