"""Both gRPC clients against one scripted server: keys, deadlines, what is tried again, and errors."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from featsvc_client import AsyncFeatsvcClient, RetryPolicy, Tls, errors
from featsvc_client.channel import ByDefault, metadata

from featsvc.codec.arrays import to_tensor
from featsvc.v1 import clip_pb2, tensor_pb2
from tests.client.conftest import QUICK, Ask
from tests.client.gateway import Refusal, answering, field_details
from tests.client.samples import PICTURE, TEXTS


def test_the_key_travels_with_each_call(asked: Ask) -> None:
    with answering(TEXTS) as script:
        asked(script.target, "encode_text", "a")
        asked(script.target, "encode_text", "a", client={"api_key": "other"})
        asked(script.target, "encode_text", "a", client={"api_key": None})
    sent = [each.get("authorization") for each in script.metadata]
    assert sent == ["Bearer smfeats", "Bearer other", None]


def test_beside_a_certificate_a_key_goes_only_where_it_is_given() -> None:
    shown, trusting = Tls(cert="cert.pem", key="key.pem"), Tls(ca="ca.pem")
    assert metadata(ByDefault.KEY, shown) == ()
    assert metadata("smfeats", shown) == metadata(ByDefault.KEY, trusting) != ()


def test_a_call_has_its_own_timeout_or_that_of_the_client(asked: Ask) -> None:
    with answering(TEXTS) as script:
        asked(script.target, "encode_text", "a", timeout=20, client={"timeout": 70.0})
        asked(script.target, "encode_text", "a", client={"timeout": 70.0})
    assert 10 < script.time_left_s[0] <= 21
    assert 60 < script.time_left_s[1] <= 71


def test_messages_have_no_size_limit(asked: Ask) -> None:
    large = np.zeros((1024, 1024, 5), np.float32)
    with answering(clip_pb2.ClipServiceExtractFeaturesResponse(features=to_tensor(large))) as script:
        assert asked(script.target, "clip_features", bytes(5_000_000)).array.shape == large.shape


def test_a_refusal_for_now_is_tried_again_until_it_works(asked: Ask) -> None:
    refusals = [Refusal(grpc.StatusCode.UNAVAILABLE), Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED)]
    with answering(*refusals, TEXTS) as script:
        asked(script.target, "encode_text", "a")
    assert len(script.requests) == 3
    assert all(request == script.requests[0] for request in script.requests)


def test_attempts_are_bounded(asked: Ask) -> None:
    with (
        answering(Refusal(grpc.StatusCode.UNAVAILABLE, "shutting down")) as script,
        pytest.raises(errors.Unavailable, match="shutting down"),
    ):
        asked(script.target, "encode_text", "a")
    assert len(script.requests) == QUICK.attempts


def test_the_deadline_bounds_the_attempts_too(asked: Ask) -> None:
    wait = (("retry-after-ms", "60000"),)
    with (
        answering(Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", wait)) as script,
        pytest.raises(errors.Overloaded, match="queue full") as caught,
    ):
        asked(script.target, "encode_text", "a", timeout=30)
    assert len(script.requests) == 1
    assert caught.value.retry_after == 60


def test_more_calls_than_the_server_takes_are_tried_again(asked: Ask) -> None:
    busy = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
    with answering(busy, TEXTS) as script:
        asked(script.target, "encode_text", "a")
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequest),
        (grpc.StatusCode.UNAUTHENTICATED, errors.AuthenticationError),
        (grpc.StatusCode.NOT_FOUND, errors.ModelNotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.WeightsMissing),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, errors.ServerError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.ServerError),
    ],
)
def test_each_status_has_its_exception_and_is_not_tried_again(
    asked: Ask, code: grpc.StatusCode, kind: type[errors.CallError]
) -> None:
    with (
        answering(Refusal(code, "why", (("x-request-id", "r-1"),))) as script,
        pytest.raises(errors.FeatsvcError, match="why") as caught,
    ):
        asked(script.target, "encode_text", "a")
    assert type(caught.value) is kind
    assert caught.value.request_id == "r-1"
    assert len(script.requests) == 1


def test_bad_fields_come_from_the_status_details(asked: Ask) -> None:
    details = field_details(("image", "is damaged"), ("params.layer", "there are 12"))
    trailing = (("grpc-status-details-bin", details),)
    with (
        answering(Refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad", trailing)) as script,
        pytest.raises(errors.InvalidRequest) as caught,
    ):
        asked(script.target, "dino_features", PICTURE)
    assert [(each.field, each.message) for each in caught.value.violations] == [
        ("image", "is damaged"),
        ("params.layer", "there are 12"),
    ]


def test_details_that_cannot_be_read_do_not_hide_the_error(asked: Ask) -> None:
    trailing = (("grpc-status-details-bin", b"\xff\xff"),)
    with (
        answering(Refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad", trailing)) as script,
        pytest.raises(errors.InvalidRequest, match="bad"),
    ):
        asked(script.target, "encode_text", "a")


@pytest.mark.parametrize(
    ("method", "arguments", "field"),
    [
        ("clip_features", {"load_size": 0}, "params.load_size"),
        ("clip_features", {"ret_pac": True}, "params.ret_pac"),
        ("dino_features", {"facet": "keys"}, "params.facet"),
        ("generate_masks", {"preset": "corase"}, "params.preset"),
        ("predict_masks", {"point_coords": [[1, 2]], "point_labels": []}, "prompts[0].point_labels"),
        ("predict_masks", {"prompts": [{}], "box": [0, 0, 1, 1]}, "prompts"),
        ("predict_masks", {"mask_input": "#", "mask_input_shape": [1]}, "mask_input"),
    ],
)
def test_what_the_contract_forbids_is_refused_before_it_is_sent(
    asked: Ask, method: str, arguments: dict[str, Any], field: str
) -> None:
    with answering(TEXTS) as script, pytest.raises(errors.InvalidRequest) as caught:
        asked(script.target, method, PICTURE, **arguments)
    assert [each.field for each in caught.value.violations] == [field]
    assert script.requests == []


def test_a_family_that_is_none_is_refused(asked: Ask) -> None:
    with pytest.raises(errors.InvalidRequest, match="'clap' is none of clip, dino, sam2"):
        asked("127.0.0.1:1", "models", "clap")


def test_a_damaged_tensor_is_a_server_error(asked: Ask) -> None:
    short = tensor_pb2.Tensor(dtype=tensor_pb2.D_TYPE_FLOAT32, shape=[3], data=b"1234")
    with (
        answering(clip_pb2.EncodeTextResponse(text_embedding=short)) as script,
        pytest.raises(errors.ServerError, match="cannot be read"),
    ):
        asked(script.target, "encode_text", "a")


def test_no_server_is_unavailable(asked: Ask) -> None:
    with answering(TEXTS) as script:
        target = script.target
    with pytest.raises(errors.Unavailable):
        asked(target, "encode_text", "a", client={"retry": RetryPolicy(attempts=2, first_delay_s=0.001)})


async def test_an_asyncio_client_asks_many_at_once() -> None:
    with answering(TEXTS) as script:
        async with AsyncFeatsvcClient(script.target) as client:
            found = await asyncio.gather(*(client.encode_text(str(number)) for number in range(32)))
    assert len(found) == 32
    assert {request.texts.text[0] for request in script.requests} == {str(number) for number in range(32)}
