"""bfloat16 beside float32: speed and what it costs in exactness.

Beside the bare network, which multiplies by torch's own kernels: featsvc's float32 is faster than that where linear
layers are packed (featsvc/engines/networks/packed.py), and is told too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from featsvc.codec.arrays import to_array
from featsvc.v1 import clip_pb2, dino_pb2, sam2_pb2, tensor_pb2
from tests.bench.figures import Claim, Row, Side
from tests.bench.questions import QUESTIONS, grpc_bytes
from tests.bench.stand import Stand
from tests.bench.weights import CLIP, DINO, SAM2
from tests.servers import KEY, Server

PHOTO = {"width": 640, "height": 480}
LEAST_COSINE = 0.999
PICTURES = 4


@dataclass(frozen=True)
class Case:
    """A model, what it is asked, and the numbers of its answer."""

    name: str
    what: str
    ask: str
    model: str
    target: float
    clients: int
    reply: type
    # Any: an instance of `reply`.
    numbers: Callable[[Any], tensor_pb2.Tensor]
    has_bare: bool = True
    """Whether there is a bare loop of the same; SAM2's float32 is torch's own in any case."""
    cosine: float = LEAST_COSINE


CASES = (
    Case("clip", "patch features at 224", "dense", CLIP, 2.5, 8, clip_pb2.ClipServiceExtractFeaturesResponse,
         lambda reply: reply.features),
    Case("dino", "patch features at 224", "dino", DINO, 2.0, 8, dino_pb2.DinoServiceExtractFeaturesResponse,
         lambda reply: reply.features),
    # No figures were asked for here: faster at all is what the option promises, and nearly the same masks.
    Case("sam2", "logits of a first click", "click", SAM2, 1.0, 1, sam2_pb2.PredictMasksResponse,
         lambda reply: reply.results[0].low_res_masks, has_bare=False, cosine=0.99),
)  # fmt: skip


def precision(stand: Stand) -> list[Row]:
    """One model of each family; a short run leaves out SAM2, and the speed of featsvc's own float32."""
    rows: list[Row] = []
    quick, half, full = stand.pace.quick, stand.bf16, stand.real
    cases = [case for case in CASES if case.has_bare or not quick]
    for case in cases:
        args = {**PHOTO, "model": case.model}

        def rate(server: Server, case: Case = case, args: dict[str, object] = args) -> float:
            # SAM2 takes seconds for a picture.
            length = {"seconds": stand.pace.seconds} if case.clients > 1 else {"count": 1}
            pace = {**length, "warm": min(2, case.clients - 1), "distinct": 16}
            # Pictures of their own each time: SAM2 would know them again.
            first = stand.fresh() if case.clients == 1 else 0
            spec = {**args, "variants": 1 << 30} if case.clients == 1 else args
            answer = stand.grpc(server, case.ask, spec, clients=case.clients, first=first, **pace)
            return float(answer["rate"])

        def bare(case: Case = case, args: dict[str, object] = args) -> float:
            answer = stand.bare.ask(do=case.ask, model=case.model, args=args, seconds=stand.pace.seconds)
            return float(answer["rate"])

        sides = [("featsvc bf16", lambda rate=rate: rate(half))]
        if not quick:
            sides.append(("featsvc fp32", lambda rate=rate: rate(full)))
        if case.has_bare:
            sides.append(("bare loop, float32", bare))
        found = stand.alternated(*sides)
        what = f"{case.model}, {case.what}, {case.clients} clients"
        # Three sides: featsvc's own float32 stands between its bfloat16 and the bare loop.
        own = f"over featsvc in float32: {found[0].median / found[1].median:.2f}" if len(found) == 3 else ""
        rows.append(Claim(f"bf16_{case.name}_speed", what, case.target).rates(found[0], found[-1], own))
        cosines = np.concatenate(
            [
                _cosines(_numbers(half, case, index, args), _numbers(full, case, index, args))
                for index in range(1 if quick else PICTURES)
            ]
        )
        side = Side(
            "bf16 to fp32", float(cosines.mean()), float(cosines.min()), float(cosines.max()), len(cosines)
        )
        rows.append(
            Row(
                f"bf16_{case.name}_cosine", f"{case.model}: mean cosine of {case.what}", "", side.median, case.cosine,
                (side,), notes=f"mean {side.median:.6f}, worst {side.low:.6f}; random weights",
            )
        )  # fmt: skip
    return rows


def _numbers(server: Server, case: Case, index: int, args: dict[str, object]) -> NDArray[np.float32]:
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(QUESTIONS[case.ask].method)
        answer = call(grpc_bytes(case.ask, index, args), metadata=(("authorization", f"Bearer {KEY}"),))
    reply = case.reply.FromString(answer)  # type: ignore[attr-defined]  # `type` is all that stubs have in common
    return to_array(case.numbers(reply)).astype(np.float32)


def _cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each patch, or each row of a mask, n."""
    a, b = (each.reshape(-1, each.shape[-1]).astype(np.float64) for each in (ours, theirs))
    found: NDArray[np.float64] = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found
