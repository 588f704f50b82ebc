"""Pictures that the server has go as their names."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import pytest
from featsvc_client import FeatsvcClient, errors
from featsvc_client.pictures import Picture
from featsvc_client.sent import SentPictures

from featsvc.codec.arrays import to_tensor
from featsvc.v1 import clip_pb2, image_pb2, sam2_pb2
from tests.client.conftest import QUICK, Ask
from tests.client.gateway import Refusal, answering, field_details
from tests.client.samples import PICTURE, VALUES

LARGE = bytes(range(256)) * 256
DIGEST = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"
EMBEDDED = sam2_pb2.EmbedImageResponse(
    image_digest=DIGEST, size_bytes=17, was_cached=True, height=3, width=4, model="m"
)
FEATURES = clip_pb2.ClipServiceExtractFeaturesResponse(features=to_tensor(VALUES), image_digest=DIGEST)
GONE = Refusal(
    grpc.StatusCode.NOT_FOUND,
    "the picture is gone",
    (("grpc-status-details-bin", field_details(("image.digest", "is not kept any more"))),),
)


def sources(requests: list[Any]) -> list[str]:
    """Whether each question carried the file or the name of its picture."""
    images = [getattr(each, "request", each).image for each in requests]
    assert all(each.content == LARGE or each.digest == DIGEST for each in images)
    return [each.WhichOneof("source") for each in images]


def test_a_second_question_about_a_picture_sends_no_file() -> None:
    clicked = sam2_pb2.PredictMasksResponse(image_digest=DIGEST)
    with answering(EMBEDDED, clicked, FEATURES) as script, FeatsvcClient(script.target) as client:
        embedded = client.embed_image(LARGE)
        client.predict_masks(LARGE, point_coords=[[1, 2]], point_labels=[1])
        assert client.clip_features(LARGE).image_digest == DIGEST
    assert (embedded.image_digest, embedded.size_bytes, embedded.was_cached) == (DIGEST, 17, True)
    assert (embedded.height, embedded.width, embedded.model) == (3, 4, "m")
    assert sources(script.requests) == ["content", "digest", "digest"]


def test_what_is_said_of_a_picture_goes_with_its_name_too() -> None:
    clicked = sam2_pb2.PredictMasksResponse(image_digest=DIGEST)
    with answering(EMBEDDED, clicked, FEATURES) as script, FeatsvcClient(script.target) as client:
        client.embed_image(LARGE, orientation="shown")
        client.predict_masks(LARGE, point_coords=[[1, 2]], point_labels=[1], orientation="shown")
        client.clip_features(LARGE)
    assert sources(script.requests) == ["content", "digest", "digest"]
    images = [getattr(each, "request", each).image for each in script.requests]
    shown = image_pb2.ORIENTATION_SHOWN
    assert [each.orientation for each in images] == [shown, shown, image_pb2.ORIENTATION_UNSPECIFIED]


def test_a_picture_that_is_gone_is_sent_again() -> None:
    with answering(EMBEDDED, GONE, FEATURES, FEATURES) as script, FeatsvcClient(script.target) as client:
        client.embed_image(LARGE)
        client.clip_features(LARGE)
        client.clip_features(LARGE)
    assert sources(script.requests) == ["content", "digest", "content", "digest"]


def test_that_a_model_is_not_found_is_no_reason_to_send_the_file() -> None:
    unknown = Refusal(grpc.StatusCode.NOT_FOUND, "no model x")
    with answering(EMBEDDED, unknown) as script, FeatsvcClient(script.target) as client:
        client.embed_image(LARGE)
        with pytest.raises(errors.ModelNotFound, match="no model x"):
            client.clip_features(LARGE)
    assert sources(script.requests) == ["content", "digest"]


def test_a_server_that_names_no_picture_always_gets_the_file() -> None:
    nameless = sam2_pb2.EmbedImageResponse(size_bytes=1)
    with answering(nameless) as script, FeatsvcClient(script.target) as client:
        client.embed_image(LARGE)
        client.embed_image(LARGE)
    assert sources(script.requests) == ["content"] * 2


def test_digests_can_be_switched_off() -> None:
    with answering(EMBEDDED) as script, FeatsvcClient(script.target, digests=False) as client:
        client.embed_image(LARGE)
        client.embed_image(LARGE)
    assert sources(script.requests) == ["content"] * 2


def test_a_small_picture_is_just_sent() -> None:
    named = sam2_pb2.EmbedImageResponse(image_digest=Picture(PICTURE).digest)
    with answering(named) as script, FeatsvcClient(script.target) as client:
        client.embed_image(PICTURE)
        client.embed_image(PICTURE)
    assert [each.image.WhichOneof("source") for each in script.requests] == ["content"] * 2


def test_a_name_may_be_given_instead_of_a_picture(asked: Ask) -> None:
    with answering(EMBEDDED) as script:
        asked(script.target, "embed_image", DIGEST)
    assert script.requests[0].image.digest == DIGEST


def test_a_name_that_the_server_does_not_know_is_an_error_of_its_own(asked: Ask) -> None:
    with answering(GONE) as script, pytest.raises(errors.PictureNotFound, match="gone"):
        asked(script.target, "embed_image", DIGEST, client={"retry": QUICK})
    assert len(script.requests) == 1


def test_the_names_kept_are_bounded_by_the_size_of_their_pictures() -> None:
    sent = SentPictures(max_bytes=3 * len(LARGE))
    pictures = [Picture(bytes([number]) + LARGE[1:]) for number in range(4)]
    for each in pictures[:3]:
        sent.confirm(each, each.digest)
    assert sent.name(pictures[0]) == pictures[0].digest  # and now it is the youngest
    sent.confirm(pictures[3], pictures[3].digest)
    assert [bool(sent.name(each)) for each in pictures] == [True, False, True, True]
    sent.forget(pictures[0].digest)
    assert not sent.name(pictures[0])
    sent.confirm(pictures[2], "sha256:of something else")
    sent.confirm(pictures[1], pictures[1].digest)
    assert [bool(sent.name(each)) for each in pictures] == [False, True, True, True]
