"""What has a reason is final, whatever its status, over gRPC and over REST."""

from __future__ import annotations

import grpc
import pytest
from featsvc_client import errors
from featsvc_client.clip_client import extract_clip_features

from tests.client.conftest import Ask
from tests.client.gateway import Refusal, answering
from tests.client.rest_service import serving
from tests.client.samples import PICTURE


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("RESOURCE_EXHAUSTED", "request-too-large", errors.RequestTooLarge),
        ("RESOURCE_EXHAUSTED", "reply-too-large", errors.ReplyTooLarge),
        ("RESOURCE_EXHAUSTED", "out-of-memory", errors.OutOfMemory),
        ("RESOURCE_EXHAUSTED", "a-later-one", errors.TooLarge),
        ("UNAVAILABLE", "killed-workers", errors.Unavailable),
        ("INTERNAL", "killed-workers", errors.ServerError),
    ],
)
def test_what_is_refused_for_a_reason_is_not_tried_again(
    asked: Ask, code: str, reason: str, kind: type[errors.CallError]
) -> None:
    trailing = (("featsvc-reason", reason),)
    with (
        answering(Refusal(grpc.StatusCode[code], "4 GB", trailing)) as script,
        pytest.raises(errors.CallError, match="4 GB") as caught,
    ):
        asked(script.target, "encode_text", "a")
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Received", errors.RequestTooLarge),
        ("SERVER: Received", errors.RequestTooLarge),
        ("CLIENT: Sent", errors.RequestTooLarge),
        ("grpc: received", errors.RequestTooLarge),
        ("Sent", errors.ReplyTooLarge),
        ("SERVER: Sent", errors.ReplyTooLarge),
        ("CLIENT: Received", errors.ReplyTooLarge),
    ],
)
def test_the_limit_of_grpc_itself_is_not_tried_again(
    asked: Ask, words: str, kind: type[errors.CallError]
) -> None:
    message = f"{words} message larger than max (70000000 vs. 67108864)"
    with (
        answering(Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, message)) as script,
        pytest.raises(errors.TooLarge, match="larger than max") as caught,
    ):
        asked(script.target, "encode_text", "a")
    assert type(caught.value) is kind
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (413, "request-too-large", errors.RequestTooLarge),
        (413, "reply-too-large", errors.ReplyTooLarge),
        (413, "out-of-memory", errors.OutOfMemory),
        (500, "killed-workers", errors.ServerError),
        (503, "killed-workers", errors.Unavailable),
    ],
)
def test_the_reason_why_no_other_try_will_help_is_told(
    status: int, reason: str, kind: type[errors.CallError]
) -> None:
    with (
        serving({"detail": "no"}, status, X_Featsvc_Reason=reason) as service,
        pytest.raises(errors.CallError) as caught,
    ):
        extract_clip_features(PICTURE, base_url=service.url)
    assert (type(caught.value), caught.value.reason) == (kind, reason)
