"""Callers whose parameters are almost equal, at the same time: each is answered as if it had asked alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from featsvc.twin import to_message
from featsvc.v1 import clip_pb2, dino_pb2, image_pb2, sam2_pb2, schema
from tests.drawn import png
from tests.servers import KEY, Server

pytestmark = pytest.mark.timeout(300)
PIXELS = np.random.default_rng(3).integers(0, 255, (3, 4, 3), np.uint8).repeat(12, 0).repeat(12, 1)
IMAGE = image_pb2.Image(content=png(PIXELS))
KEYS = (("authorization", f"Bearer {KEY}"),)
QUESTIONS = 24
# Other models have no weights here, and large pictures or grids would only take longer.
LEFT_OUT = (
    "model_name",
    "model_pretrained",
    "model_type",
    "model_cfg",
    "checkpoint_path",
    "preset",
    "points_per_side",
)


@dataclass(frozen=True)
class Operation:
    """One method, and what its questions are about beside their parameters."""

    method: str
    answer: Any  # a class of messages
    request: Message
    params: type[BaseModel]
    always: dict[str, object]
    """What every question is given, so that it costs little."""


def sam2_prompts() -> list[sam2_pb2.Prompt]:
    point = sam2_pb2.Point(x=20, y=15)
    return [sam2_pb2.Prompt(point_coords=[point], point_labels=[1])]


CLIP, DINO, SAM2 = (f"/featsvc.v1.{name}Service/" for name in ("Clip", "Dino", "Sam2"))
QUERY = clip_pb2.TextQuery(text=["a red circle", "a star"])
SMALL = {"load_size": 48}
OPERATIONS = {
    each.method.rpartition("/")[0].rpartition(".")[2] + " " + each.method.rpartition("/")[2]: each
    for each in (
        Operation(
            f"{CLIP}ExtractFeatures",
            clip_pb2.ClipServiceExtractFeaturesResponse,
            clip_pb2.ClipServiceExtractFeaturesRequest(image=IMAGE),
            schema.ClipExtractFeaturesParams,
            SMALL,
        ),
        Operation(
            f"{CLIP}EncodeText",
            clip_pb2.EncodeTextResponse,
            clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a red circle"])),
            schema.EncodeTextParams,
            {},
        ),
        Operation(
            f"{CLIP}ComputeSimilarity",
            clip_pb2.ComputeSimilarityResponse,
            clip_pb2.ComputeSimilarityRequest(image=IMAGE, query=QUERY),
            schema.ComputeSimilarityParams,
            SMALL,
        ),
        Operation(
            f"{CLIP}EncodeImage",
            clip_pb2.EncodeImageResponse,
            clip_pb2.EncodeImageRequest(image=IMAGE),
            schema.EncodeImageParams,
            {},
        ),
        Operation(
            f"{DINO}ExtractFeatures",
            dino_pb2.DinoServiceExtractFeaturesResponse,
            dino_pb2.DinoServiceExtractFeaturesRequest(image=IMAGE),
            schema.DinoExtractFeaturesParams,
            SMALL,
        ),
        Operation(
            f"{SAM2}GenerateMasks",
            sam2_pb2.GenerateMasksResponse,
            sam2_pb2.GenerateMasksRequest(image=IMAGE),
            schema.GenerateMasksParams,
            {"points_per_side": 3},
        ),
        Operation(
            f"{SAM2}PredictMasks",
            sam2_pb2.PredictMasksResponse,
            sam2_pb2.PredictMasksRequest(image=IMAGE, prompts=sam2_prompts()),
            schema.PredictMasksParams,
            {},
        ),
    )
}


def other(value: object) -> object:
    """A value near the default."""
    match value:
        case bool():
            return not value
        case StrEnum():
            words = list(type(value))
            return words[(words.index(value) + 1) % len(words)]
        case int():
            return value + 1
        case float():
            return 0.9 * value if value else 0.25
    return None


def almost_equal(operation: Operation, chance: random.Random) -> Iterator[Message]:
    """Requests whose parameters have a few fields given: most as they are by default, which a preset has otherwise."""
    fields = operation.params.model_fields
    names = [name for name in fields if name not in (*LEFT_OUT, *operation.always)]
    while True:
        given: dict[str, object] = dict(operation.always)
        if "preset" in fields and chance.random() < 0.7:
            given["preset"] = chance.choice(["coarse", "fine_grained"])
        for name in chance.sample(names, min(len(names), chance.choice([0, 1, 1, 2]))):
            default = fields[name].default
            value = default if chance.random() < 0.7 else other(default)
            if value is not None:
                given[name] = value
        if chance.random() < 0.2 and "points_per_side" in given:
            # Without it these are one point; with it they are a contradiction, of no concern to others.
            given |= {"point_grids": [[[0.5, 0.5]]]} | chance.choice([{}, {"crop_n_layers": 0}])
            if chance.random() < 0.6:
                del given["points_per_side"]
        try:
            params = operation.params(**given)
        except ValidationError:
            continue
        request = type(operation.request).FromString(operation.request.SerializeToString())
        request.MergeFrom(to_message(params, type(request)))
        yield request


async def answered(channel: grpc.aio.Channel, operation: Operation, request: Message) -> Message | str:
    """The reply, or the words of the refusal."""
    ask = channel.unary_unary(
        operation.method,
        request_serializer=type(request).SerializeToString,
        response_deserializer=operation.answer.FromString,
    )
    try:
        return await ask(request, metadata=KEYS, timeout=120)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise
        return str(error.details())


@pytest.mark.parametrize("name", list(OPERATIONS))
async def test_a_caller_among_almost_equal_ones_is_answered_as_if_alone(
    demo_server: Server, name: str
) -> None:
    operation = OPERATIONS[name]
    drawn = almost_equal(operation, random.Random(name))
    requests = [next(drawn) for _ in range(QUESTIONS)]
    async with grpc.aio.insecure_channel(demo_server.target) as channel:
        together = await asyncio.gather(*(answered(channel, operation, each) for each in requests))
        for request, got in zip(requests, together, strict=True):
            assert got == await answered(channel, operation, request), request.params
    assert sum(isinstance(each, Message) for each in together) > QUESTIONS / 2


PRESET = ("coarse", "fine_grained")
TWINS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    f"{preset}, {name}": (alike, {**alike, name: schema.GenerateMasksParams.model_fields[name].default})
    for preset in PRESET
    for name in (
        "stability_score_thresh",
        "stability_score_offset",
        "min_mask_region_area",
        "pred_iou_thresh",
    )
    for alike in [{"preset": preset, "points_per_side": 4, "crop_n_layers": 0}]
} | {
    "grids and points": (
        {"point_grids": [[[0.5, 0.5]]]},
        {"point_grids": [[[0.5, 0.5]]], "points_per_side": 32},
    ),
}


@pytest.mark.parametrize("name", list(TWINS))
async def test_a_field_given_with_its_default_is_not_the_same_as_one_left_out(
    demo_server: Server, name: str
) -> None:
    operation = OPERATIONS["Sam2Service GenerateMasks"]
    requests = []
    for given in TWINS[name] * 4:
        request = sam2_pb2.GenerateMasksRequest(image=IMAGE)
        request.MergeFrom(to_message(schema.GenerateMasksParams(**given), sam2_pb2.GenerateMasksRequest))
        requests.append(request)
    async with grpc.aio.insecure_channel(demo_server.target) as channel:
        together = await asyncio.gather(*(answered(channel, operation, each) for each in requests))
        alone = [await answered(channel, operation, each) for each in requests[:2]]
    assert together == alone * 4
