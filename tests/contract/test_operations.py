"""The table of operations and the contract say the same."""

from __future__ import annotations

from typing import Any

import pytest

from featsvc.server.services import replies
from featsvc.twin.messages import PARAMETERS
from featsvc.twin.methods import list_fields, message_class, method_of, path_of, twin_of, variants
from featsvc.v1 import clip_pb2, dino_pb2, objects_pb2, sam2_pb2
from featsvc.work.item import PictureItem, beside_picture
from featsvc.work.operations import ENCODE_IMAGE, GENERATE_MASKS, OPERATIONS, AnyOperation
from featsvc.work.results import MaskList, TextEmbeddings

SERVICES = ("ClipService", "DinoService", "Sam2Service", "ObjectService")
EVERY = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.rpc)


@EVERY
def test_what_is_asked_has_the_fields_of_the_request(operation: AnyOperation) -> None:
    twin = twin_of(method_of(operation.rpc).input_type)
    assert twin.model_fields[PARAMETERS].annotation is operation.params
    picture = {"image"} if issubclass(operation.item, PictureItem) else set()
    assert twin.model_fields.keys() == {PARAMETERS, *picture, *beside_picture(operation.item)}


@EVERY
def test_the_result_fills_the_reply_and_what_is_said_of_all(operation: AnyOperation) -> None:
    plain = method_of(operation.rpc)
    replies.ReplyClass(message_class(plain.output_type), operation.result, replies.FACTS)
    one_by_one = variants(plain).one_by_one
    if one_by_one is not None:
        summary = list_fields(plain, one_by_one).last.message_type
        replies.ReplyClass(message_class(summary), operation.result, replies.FACTS)


def test_a_result_that_lacks_a_field_of_the_reply_is_noticed_at_once() -> None:
    reply = message_class(method_of(ENCODE_IMAGE.rpc).output_type)
    with pytest.raises(
        LookupError, match="TextEmbeddings lacks image_embedding, image_orientation of EncodeImage"
    ):
        replies.ReplyClass(reply, TextEmbeddings, replies.FACTS)
    with pytest.raises(LookupError, match="MaskList lacks image_digest of GenerateMasksResponse"):
        replies.ReplyClass(message_class(method_of(GENERATE_MASKS.rpc).output_type), MaskList, ("model",))


def test_every_rpc_of_the_engines_services_is_an_operation_or_a_variant_of_one() -> None:
    known: list[str] = []
    for operation in OPERATIONS:
        others = variants(method_of(operation.rpc))
        found = (others.chunked, others.one_by_one, others.stream)
        known += [operation.rpc, *(path_of(each) for each in found if each is not None)]
    files: Any = (clip_pb2, dino_pb2, sam2_pb2, objects_pb2)  # Any: generated modules
    services = zip(files, SERVICES, strict=True)
    methods = [each for file, name in services for each in file.DESCRIPTOR.services_by_name[name].methods]
    assert sorted(known) == sorted(map(path_of, methods))


@EVERY
def test_each_line_is_of_the_family_of_its_service(operation: AnyOperation) -> None:
    assert operation.service == f"featsvc.v1.{operation.family.capitalize()}Service"
