"""SAM2 tiny: the second click, automatic masks, and the size of what they send."""

from __future__ import annotations

import hashlib
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

from featsvc.v1 import sam2_pb2
from tests.bench.figures import Claim, Row, Side
from tests.bench.questions import QUESTIONS, grpc_bytes, image_of
from tests.bench.stand import FOLDER, Peak, Stand, processor_seconds, worker_of
from tests.bench.weights import SAM2
from tests.servers import KEY, Server

CLICKED = {"model": SAM2, "width": 2250, "height": 1500, "seed": 0}
PICTURE = {"model": SAM2, "width": 1800, "height": 1200, "seed": 0}
# The coarse preset but for min_mask_region_area: sam2 ignores that without its compiled extension.
COARSE: dict[str, Any] = {
    "points_per_side": 16,
    "points_per_batch": 64,
    "pred_iou_thresh": 0.8,
    "stability_score_thresh": 0.95,
    "stability_score_offset": 1.0,
    "box_nms_thresh": 0.7,
}
MOST_MIB = 1024.0
CLICKS = 6


def second_click(stand: Stand) -> list[Row]:
    """A click on a picture that was clicked on before."""
    server = stand.real
    again = {**CLICKED, "digest": "sha256:" + hashlib.sha256(image_of(0, CLICKED)).hexdigest()}
    # The first click on either side loads the network and encodes the picture.
    with ThreadPoolExecutor(1) as beside:
        knows = beside.submit(stand.bare.ask, do="click", args=CLICKED, count=1)
        stand.grpc(server, "click", CLICKED, clients=1, count=1)
        knows.result()

    def served() -> float:
        answer = stand.grpc(server, "click", again, clients=1, count=CLICKS, distinct=CLICKS)
        return statistics.median(answer["latencies"])

    def bare() -> float:
        return statistics.median(stand.bare.ask(do="click", args=CLICKED, count=CLICKS)["latencies"])

    def plain() -> float:
        url = f"http://127.0.0.1:{stand.plain.about['port']}"
        answer = stand.http(url, "click", CLICKED, clients=1, count=1, distinct=1)
        return statistics.median(answer["latencies"])

    what = "SAM2 tiny, second click on a 2250x1500 photo, three masks"
    ours, limit_side, plain_side = stand.alternated(
        ("featsvc gRPC", served),
        ("bare decoder and upsampling", bare),
        ("plain FastAPI", plain),
        slow="plain FastAPI",
    )
    return [
        Claim("click_vs_bare", what, 1 / 1.25).times(
            ours, limit_side, "ms", "the picture named by its digest"
        ),
        Claim("click_vs_plain", what, 15).times(
            ours, plain_side, "ms", "the plain server encodes at every click"
        ),
    ]


def auto_masks(stand: Stand) -> list[Row]:
    """SAM2's own generator beside featsvc: processor time, memory, and whether the masks are the same bits.

    The generator works on one core while featsvc does on another, for it is processor time that counts.
    """
    # Fewer points make the encoder, which both sides pay alike, count for more: a quick run flatters nobody.
    side = 6 if stand.pace.quick else COARSE["points_per_side"]
    options = {**COARSE, "points_per_side": side}
    what = f"automatic masks, {side}x{side} points, 1800x1200, SAM2 tiny"
    exact, bounded, reference, peaks, identical = [], [], [], [], []
    facts: dict[str, Any] = {}
    half_facts: dict[str, Any] = {}
    serving = stand.featsvc("serve", f"--weights-dir={stand.weights}", f"--preload={SAM2}")
    with serving as server, ThreadPoolExecutor(1) as beside:
        # Loads the model; another picture, so that the one that counts is encoded as on the other sides.
        _generated(stand.bf16, {**PICTURE, "seed": 99, "options": {**options, "points_per_side": 1}})
        for number in range(max(1, stand.pace.repetitions // 2)):
            args = {**PICTURE, "seed": number}
            saved = FOLDER / f"reference-{number}.npz"
            upstream = beside.submit(stand.bare.ask, do="masks", args=args, options=options, save=str(saved))
            seconds, growth, reply = _generated(server, {**args, "options": options})
            exact.append(seconds)
            peaks.append(growth)
            half_seconds, _, half_reply = _generated(stand.bf16, {**args, "options": options})
            bounded.append(half_seconds)
            theirs = upstream.result()
            reference.append(theirs["cpu_s"])
            facts["reference_peak_mib"] = round(theirs["peak_mib"])
            facts |= {name: theirs[name] for name in ("candidates", "passed_iou", "passed_stability")}
            facts |= _compared(reply, np.load(saved))
            identical.append(facts["identical"])
            half_facts |= _compared(half_reply, np.load(saved))
    ours, theirs_side = Side.of("featsvc, exact", exact), Side.of("SAM2AutomaticMaskGenerator", reference)
    facts["identical"] = all(identical)
    counts = f"{facts['candidates']} candidates, {facts['passed_iou']} pass IoU, {facts['passed_stability']} stable"
    note = f"processor time; {counts}, {facts['final']} masks, bit-identical; random weights with calibrated heads"
    claim = Claim("auto_masks_exact", what, 1.9)
    # Other masks faster are no answer to the same question.
    row = (
        claim.times(ours, theirs_side, "s", note)
        if facts["identical"]
        else claim.missing("the masks are not bit-identical")
    )
    rows = [Row(**{**row.__dict__, "facts": facts})]
    peak = Side("peak of the first request", peaks[0], min(peaks), max(peaks), len(peaks))
    own = f"sam2's generator: {facts['reference_peak_mib']} MiB"
    claim = Claim("auto_masks_memory", f"{what}: memory above the loaded model", MOST_MIB)
    rows.append(claim.limit(peak, "MiB", own))
    # With the options whose error is bounded, not nought.
    iou = f"mean IoU with the nearest exact mask {half_facts['mean_iou']:.4f}"
    note = f"--precision=bf16; {half_facts['final']} masks, {iou}"
    row = Claim("auto_masks_bounded", what, 3).times(
        Side.of("featsvc, bfloat16", bounded), theirs_side, "s", note
    )
    return [*rows, Row(**{**row.__dict__, "facts": half_facts})]


def _generated(server: Server, args: dict[str, Any]) -> tuple[float, float, sam2_pb2.GenerateMasksResponse]:
    """Processor seconds of the worker, its growth in MiB, and the masks."""
    worker = worker_of(server)
    with grpc.insecure_channel(server.target, (("grpc.max_receive_message_length", -1),)) as channel:
        call = channel.unary_unary(QUESTIONS["masks"].method)
        before = processor_seconds(worker)
        with Peak(worker.pid) as peak:
            raw = call(grpc_bytes("masks", 0, args), metadata=(("authorization", f"Bearer {KEY}"),))
        seconds = processor_seconds(worker) - before
    return seconds, peak.growth_mib, sam2_pb2.GenerateMasksResponse.FromString(raw)


def _compared(reply: sam2_pb2.GenerateMasksResponse, reference: Any) -> dict[str, Any]:
    """How the masks of a reply compare with those of sam2's generator."""
    theirs = reference["masks"]
    ours = [np.frombuffer(mask.bitmap.data, np.uint8) for mask in reply.masks]
    identical = len(ours) == len(theirs) and all(
        np.array_equal(a, b.ravel()) for a, b in zip(ours, theirs, strict=True)
    )
    best = [max((_iou(a, b.ravel()) for b in theirs), default=0.0) for a in ours]
    return {
        "final": len(ours),
        "reference_final": len(theirs),
        "identical": bool(identical),
        "mean_iou": float(np.mean(best)) if best else 0.0,
    }


def _iou(a: Any, b: Any) -> float:
    """Of packed bits."""
    union = int(np.bitwise_count(a | b).sum())
    return float(np.bitwise_count(a & b).sum()) / union if union else 1.0


def mask_bytes(stand: Stand) -> list[Row]:
    """Bytes of an /auto_mask reply in each encoding; demo-sam2, whose masks are of things."""
    args = {"model": "demo-sam2", "width": 1800, "height": 1200, "shapes": 0}
    url, what = stand.demo.url("sam2"), "bytes of an /auto_mask reply, 1800x1200, demo-sam2"

    def size(**options: str) -> Side:
        asked = {**args, "rest_options": {"points_per_side": 8 if stand.pace.quick else 16, **options}}
        answer = stand.http(url, "masks", asked, key=KEY, clients=1, count=1, distinct=1)
        return Side.of(options.get("mask_encoding", "float32"), [answer["bytes_in"] / 1024])

    dense, rows = size(), []
    for encoding, target in (("bits", 30.0), ("coco_rle", 400.0)):
        claim = Claim(f"mask_bytes_{encoding}", what, target)
        rows.append(claim.times(size(mask_encoding=encoding), dense, "KiB", "whole HTTP bodies"))
    return rows
