"""Objects with vectors: LangSplat's recipe beside its own code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc

from featsvc.v1 import objects_pb2
from tests.bench.figures import Claim, Row, Side
from tests.bench.questions import image_of
from tests.bench.stand import Stand, processor_seconds, worker_of
from tests.bench.weights import CLIP, SAM2
from tests.servers import KEY, Server

PICTURE: dict[str, Any] = {"model": SAM2, "clip": CLIP, "width": 1080, "height": 720, "seed": 0}
# The recipe's but for fewer points, for thresholds that all three masks of a point pass with random weights, and for
# min_mask_region_area, which sam2 ignores without its compiled extension.
SEARCH: dict[str, Any] = {
    "points_per_side": 8,
    "pred_iou_thresh": 0.05,
    "stability_score_thresh": 0.3,
    "crop_n_layers": 1,
}
THRESHOLDS = {"mask_nms_thresh": 0.8, "inner_nms_thresh": 0.5, "mask_score_thresh": 0.02}
MOST_OTHERS = 0.05
"""Part of the objects that bfloat16 may find more or fewer of."""
LONGEST_S = 3600.0
METHOD = "/featsvc.v1.ObjectService/DescribeObjects"


def langsplat(stand: Stand) -> list[Row]:
    """Processor time of one call, exact and in bfloat16, and of the same done the way LangSplat's code does it.

    One after the other, so that all have the machine alike.
    """
    side = 4 if stand.pace.quick else SEARCH["points_per_side"]
    search = {**SEARCH, "points_per_side": side}
    serving = stand.featsvc(
        "serve", f"--weights-dir={stand.weights}", f"--preload={SAM2}", f"--preload={CLIP}"
    )
    with serving as server:
        # Loads and warms both models.
        for each in (server, stand.bf16):
            described(each, {**PICTURE, "seed": 99}, {**search, "points_per_side": 1, "crop_n_layers": 0})
        seconds, objects = described(server, PICTURE, search)
        theirs = stand.bare.ask(do="langsplat", args=PICTURE, options=search, thresholds=THRESHOLDS)
        half_seconds, half_objects = described(stand.bf16, PICTURE, search)
    what = f"recipe langsplat, {side}x{side} points in 5 crops, 1080x720, SAM2 tiny and ViT-B-16"
    steps = {name: round(theirs[name], 2) for name in ("masks_s", "suppression_s", "crops_s")}
    plain = Side.of("the plain way, float32", [sum(steps.values())])
    note = f"processor time; {objects} objects of {theirs['masks']} masks; the plain way's masks {steps['masks_s']} s, "
    note += f"suppression {steps['suppression_s']} s, crops {steps['crops_s']} s"
    exact, half = Claim("langsplat", what, 3), Claim("langsplat_bf16", what, 3)
    if not theirs["objects"]:
        return [each.missing("the plain way has no object of this picture") for each in (exact, half)]
    rows = []
    if objects == theirs["objects"]:
        rows.append(replace(exact.times(Side.of("featsvc", [seconds]), plain, "s", note), facts=steps))
    else:
        rows.append(exact.missing(f"{objects} objects, and {theirs['objects']} the plain way"))
    # LangSplat's code has CLIP in half precision.
    if abs(half_objects / theirs["objects"] - 1) <= MOST_OTHERS:
        note = f"processor time, --precision=bf16; {half_objects} objects"
        rows.append(half.times(Side.of("featsvc, bfloat16", [half_seconds]), plain, "s", note))
    else:
        rows.append(half.missing(f"{half_objects} objects, and {theirs['objects']} the plain way"))
    return rows


def described(server: Server, args: dict[str, Any], search: dict[str, Any]) -> tuple[float, int]:
    """Processor seconds of the worker, and how many objects it found."""
    name, _, tag = CLIP.rpartition("/")
    view = {"model": {"model_name": name, "model_pretrained": tag}}
    request = objects_pb2.DescribeObjectsRequest(
        image={"content": image_of(0, args)},
        model={"model_cfg": SAM2, "checkpoint_path": SAM2},
        params={**search, "min_mask_region_area": 0},
        masks={"mask_encoding": "MASK_ENCODING_COCO_RLE"},
        objects={"recipe": "RECIPE_LANGSPLAT", **THRESHOLDS, "describe": [{"clip": view, "crop": {}}]},
    )
    worker = worker_of(server)
    with grpc.insecure_channel(server.target, (("grpc.max_receive_message_length", -1),)) as channel:
        call = channel.unary_unary(
            METHOD,
            request_serializer=objects_pb2.DescribeObjectsRequest.SerializeToString,
            response_deserializer=objects_pb2.DescribeObjectsResponse.FromString,
        )
        before = processor_seconds(worker)
        # The most that a server allows: without a deadline of the caller's it would end the call after 300 s.
        reply = call(request, timeout=LONGEST_S, metadata=(("authorization", f"Bearer {KEY}"),))
        return processor_seconds(worker) - before, len(reply.objects)
