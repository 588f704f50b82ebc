"""Requests of very many items are refused before they are parsed, and let go of when they were refused."""

from __future__ import annotations

import gc
import weakref

import grpc
import pytest
from google.protobuf.message import DecodeError, Message

from featsvc.codec.wire import MOST_FIELDS, refuse_crowded
from featsvc.errors import InvalidArgument, InvalidFields
from featsvc.server.calls.statuses import item_error, told
from featsvc.v1 import clip_pb2, image_pb2, sam2_pb2
from tests.server.asking import refusal, violations
from tests.server.conftest import AUTHORISED, Running

PICTURE = image_pb2.Image(content=b"say 1" + bytes(512 * 1024))
Predict = sam2_pb2.PredictMasksRequest
POINT = sam2_pb2.Point(x=0.5, y=0.5)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=[""] * 300_000)), "texts.text"),
        (Predict(image=PICTURE, prompts=[sam2_pb2.Prompt()] * 300), "prompts"),
        (
            Predict(prompts=[sam2_pb2.Prompt(), sam2_pb2.Prompt(point_labels=[7] * 300_000)]),
            "prompts[1].point_labels",
        ),
        (Predict(prompts=[sam2_pb2.Prompt(point_coords=[POINT] * 20_000)]), "prompts[0].point_coords"),
    ],
)
async def test_a_list_that_is_too_long_is_told_by_name_and_never_parsed(
    served: Running, request_: Message, field: str
) -> None:
    with pytest.raises(InvalidFields) as caught:
        refuse_crowded(request_.SerializeToString(), request_.DESCRIPTOR)
    assert caught.value.violations[0].field == field
    ask = served.clip.EncodeText if field == "texts.text" else served.sam2.PredictMasks
    error = await refusal(ask(request_, metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert set(violations(error)) == {field}
    assert "that are taken" in violations(error)[field]


def test_lists_as_long_as_they_may_be_are_let_through() -> None:
    prompt = sam2_pb2.Prompt(point_coords=[POINT] * 1024, point_labels=[1] * 1024)
    asked = Predict(image=PICTURE, prompts=[prompt] * 256)
    refuse_crowded(asked.SerializeToString(), asked.DESCRIPTOR)
    grid = sam2_pb2.PointGrid(points=[POINT] * 65536)
    grids = sam2_pb2.GenerateMasksRequest(params=sam2_pb2.AutomaticMaskParams(point_grids=[grid] * 5))
    refuse_crowded(grids.SerializeToString(), grids.DESCRIPTOR)


def test_fields_that_say_the_same_again_and_again_are_refused() -> None:
    raw = Predict(image=image_pb2.Image(digest="")).SerializeToString() * (MOST_FIELDS + 1)
    with pytest.raises(InvalidArgument, match="items in all"):
        refuse_crowded(raw, Predict.DESCRIPTOR)


@pytest.mark.parametrize("raw", [b"\xff" * 20, b"\x0b"])
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidArgument, match="no valid protobuf message"):
        refuse_crowded(raw, Predict.DESCRIPTOR)


@pytest.mark.parametrize("raw", [b"\x0a\xff\xff", b"\x12\x05\x0a", b"\x08"])
def test_what_is_cut_off_is_left_to_the_parser(raw: bytes) -> None:
    refuse_crowded(raw, Predict.DESCRIPTOR)
    with pytest.raises(DecodeError):
        Predict.FromString(raw)


def test_a_refusal_lets_go_of_the_request_at_once() -> None:
    class Request:
        """Something large."""

    def refused() -> tuple[weakref.ref[Request], Exception]:
        request = Request()
        try:
            raise InvalidFields([])
        except InvalidFields as error:
            return weakref.ref(request), told(error, "method")

    gc.disable()
    try:
        request, error = refused()
        assert request() is None, error
    finally:
        gc.enable()


def test_no_memory_in_the_gateway_is_told_as_such_and_may_be_tried_again() -> None:
    refusal = told(MemoryError(), "method")
    assert refusal.code == "RESOURCE_EXHAUSTED"
    assert "no memory" in refusal.message
    assert refusal.message.endswith("try again in 1.0 s")
    assert item_error(refusal).retry_after_ms > 0
    assert item_error(refusal).reason == ""
