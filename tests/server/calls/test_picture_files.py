"""Large picture files are taken out of a request before it is parsed, and it says the same as if they had not been."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from featsvc.codec.picture_files import LARGE, Files, without_files
from featsvc.twin import from_message
from featsvc.twin.methods import message_class, method_of, twin_of, variants
from featsvc.v1 import estimate_pb2, estimate_pb2_grpc, image_pb2, sam2_pb2
from featsvc.work.item import PictureItem
from featsvc.work.operations import OPERATIONS
from tests.server.conftest import AUTHORISED, Running

FILE = b"a picture " * (LARGE // 10 + 1)
Predict = sam2_pb2.PredictMasksRequest
LARGE_ONE = Predict(image=image_pb2.Image(content=FILE, orientation="ORIENTATION_SHOWN"))
# Of each operation about a picture, and of its variants.
REQUESTS = {
    method.input_type.full_name: method.input_type
    for operation in OPERATIONS
    if issubclass(operation.item, PictureItem)
    for plain in [method_of(operation.rpc)]
    for method in (plain, *filter(None, vars(variants(plain)).values()))
}


def said(
    request: Any, twin: type[BaseModel], files: Files | None = None
) -> object:  # Any: whatever its fields
    """What a request says, or what is wrong with that: some must say more than a picture."""
    try:
        return from_message(request, twin, files)
    except ValidationError as error:
        return error.errors()


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_about_a_picture_says_the_same_without_its_file(name: str) -> None:
    kind, twin = message_class(REQUESTS[name]), twin_of(REQUESTS[name])
    request: Any = kind()  # whatever its fields
    holder = request if "image" in kind.DESCRIPTOR.fields_by_name else request.request
    holder.image.content = FILE
    rest, files = without_files(request.SerializeToString(), kind.DESCRIPTOR)
    assert len(rest) < 100
    assert said(kind.FromString(rest), twin, files) == said(request, twin)


@pytest.mark.parametrize(
    "raw",
    [
        Predict(image=image_pb2.Image(content=FILE[: LARGE - 1])).SerializeToString(),
        Predict(image=image_pb2.Image(digest="x")).SerializeToString(),
        # Of what is there twice the last counts, and messages are put together.
        LARGE_ONE.SerializeToString() + Predict(image=image_pb2.Image(content=b"x")).SerializeToString(),
        LARGE_ONE.SerializeToString() + Predict(image=image_pb2.Image(url="x")).SerializeToString(),
        LARGE_ONE.SerializeToString()[:-1],
        b"\x0b" + FILE,
    ],
    ids=["small", "none", "twice", "another source", "cut off", "no message"],
)
def test_all_else_is_left_to_the_parser(raw: bytes) -> None:
    assert without_files(raw, Predict.DESCRIPTOR) == (raw, {})


def test_what_remains_has_all_else() -> None:
    asked = Predict(image=LARGE_ONE.image, prompts=[sam2_pb2.Prompt(point_labels=[1])])
    rest, files = without_files(asked.SerializeToString(), asked.DESCRIPTOR)
    assert files == {"image": {"content": FILE}}
    asked.image.content = b""
    assert Predict.FromString(rest) == asked


async def test_a_dry_run_with_a_large_file_is_of_that_file(served: Running) -> None:
    stub = estimate_pb2_grpc.EstimateServiceStub(served.channel)
    asked = estimate_pb2.EstimateRequest(predict_masks=LARGE_ONE)
    reply: Any = await stub.Estimate(asked, metadata=AUTHORISED)
    assert reply.queue_bytes >= len(FILE)
