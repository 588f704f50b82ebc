"""bfloat16 beside float32: speed and what it costs in exactness."""

from __future__ import annotations

import grpc
import numpy as np
from numpy.typing import NDArray

from featsvc.twin.arrays import to_array
from featsvc.v1 import clip_pb2, dino_pb2
from tests.bench.figures import Claim, Row, Side
from tests.bench.questions import QUESTIONS, grpc_bytes
from tests.bench.stand import NotYet, Stand
from tests.bench.weights import CLIP, DINO
from tests.servers import KEY, Server

PHOTO = {"width": 640, "height": 480}
CASES = (
    ("clip", "dense", CLIP, 2.5, clip_pb2.ClipServiceExtractFeaturesResponse),
    ("dino", "dino", DINO, 2.0, dino_pb2.DinoServiceExtractFeaturesResponse),
)
LEAST_COSINE = 0.999
PICTURES = 4


def precision(stand: Stand) -> list[Row]:
    """ViT-B-16 and DINOv2 ViT-S/14 at 224."""
    rows: list[Row] = []
    try:
        half, full = stand.bf16, stand.real
    except NotYet as reason:
        for name, _, model, target, _ in CASES:
            rows += [
                Claim(f"bf16_{name}_speed", model, target).missing(str(reason)),
                Claim(f"bf16_{name}_cosine", model, LEAST_COSINE).missing(str(reason)),
            ]
        return rows
    for name, ask, model, target, reply in CASES:
        args = {**PHOTO, "model": model}

        def rate(server: Server, ask: str = ask, args: dict[str, object] = args) -> float:
            answer = stand.grpc(server, ask, args, clients=8, seconds=max(3.0, stand.pace.seconds), warm=2)
            return float(answer["rate"])

        ours, theirs = stand.alternated(
            ("featsvc bf16", lambda rate=rate: rate(half)), ("featsvc fp32", lambda rate=rate: rate(full))
        )
        rows.append(Claim(f"bf16_{name}_speed", f"{model} at 224, 8 clients", target).rates(ours, theirs))
        cosines = np.concatenate(
            [
                _cosines(_features(half, ask, index, args, reply), _features(full, ask, index, args, reply))
                for index in range(2 if stand.pace.quick else PICTURES)
            ]
        )
        side = Side(
            "bf16 to fp32", float(cosines.mean()), float(cosines.min()), float(cosines.max()), len(cosines)
        )
        rows.append(
            Row(
                f"bf16_{name}_cosine", f"{model}: mean cosine of patch features", "", side.median, LEAST_COSINE,
                (side,), notes=f"mean {side.median:.6f}, worst {side.low:.6f}; random weights",
            )
        )  # fmt: skip
    return rows


def _features(
    server: Server, ask: str, index: int, args: dict[str, object], reply: type
) -> NDArray[np.float32]:
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(QUESTIONS[ask].method)
        answer = call(grpc_bytes(ask, index, args), metadata=(("authorization", f"Bearer {KEY}"),))
    return to_array(reply.FromString(answer).features).astype(np.float32)  # type: ignore[attr-defined]


def _cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each patch, n."""
    a, b = (each.reshape(-1, each.shape[-1]).astype(np.float64) for each in (ours, theirs))
    found: NDArray[np.float64] = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found
