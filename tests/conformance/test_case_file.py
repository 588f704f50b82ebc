"""The case file: fresh, and about everything in the contract."""

from __future__ import annotations

from typing import Any

import pytest
from featsvc_client.conformance.cases import golden, shipped

from featsvc.v1 import clip_pb2, dino_pb2, model_pb2, objects_pb2, sam2_pb2, tensor_pb2
from tests.conformance.make import CASES, written

FILES = (clip_pb2, dino_pb2, sam2_pb2, objects_pb2, model_pb2)
CODES = {
    "OK",
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
}


def test_the_case_file_is_what_the_script_writes() -> None:
    assert CASES.read_text() == written()


def test_every_question_has_a_known_answer_and_a_name_of_its_own() -> None:
    lines = [line for case in shipped() for line in case.lines]
    assert len(lines) == len(set(lines))
    assert list(golden()) == lines


def test_every_rpc_of_the_contract_is_asked() -> None:
    rpcs = {
        f"{service.full_name}/{method.name}"
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    # A drain would end the server that is asked.
    assert {case.rpc for case in shipped()} == rpcs - {"featsvc.v1.ModelService/Drain"}


@pytest.mark.parametrize(
    ("enum", "holder", "option"),
    [(tensor_pb2.FeatureDType, "features", "dtype"), (sam2_pb2.MaskEncoding, "masks", "mask_encoding")],
)
def test_every_element_type_and_every_encoding_of_masks_is_asked_for(
    enum: Any, holder: str, option: str
) -> None:
    asked = {case.questions[0].request.get(holder, {}).get(option) for case in shipped()}
    assert set(enum.keys()[1:]) <= asked


def test_every_kind_of_error_is_known() -> None:
    assert {answer["code"] for answer in golden().values()} == CODES
