"""Pictures that a question names beside its own: found by their digests, within limits, for their own key alone."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import pytest
from annotated_types import MaxLen
from pydantic import TypeAdapter, ValidationError

from featsvc.pool.transport.frames import LARGE_BYTES
from featsvc.settings.tree import GatewaySettings
from featsvc.v1 import dino_pb2, estimate_pb2, estimate_pb2_grpc, features_pb2, image_pb2
from featsvc.v1.schema import FeatureParams
from tests.server.asking import OTHER_KEY, asking, digest_of, refusal, violations
from tests.server.conftest import AUTHORISED, Running, start

ONE, TWO, THREE = b"say 1", b"say 20", b"say 300"
FIELD = "features.pca_digests"


def together(own: bytes, digests: Sequence[str]) -> dino_pb2.DinoServiceExtractFeaturesRequest:
    return dino_pb2.DinoServiceExtractFeaturesRequest(
        image=image_pb2.Image(content=own),
        features=features_pb2.FeatureParams(ret_pca=True, pca_digests=digests),
    )


async def send(served: Running, *pictures: bytes) -> None:
    for each in pictures:
        await served.clip.ExtractFeatures(asking(each), metadata=AUTHORISED)


async def test_a_worker_gets_every_named_picture_once(served: Running) -> None:
    await send(served, TWO, THREE)
    names = [digest_of(each) for each in (THREE, TWO, ONE, THREE)]
    reply = await served.dino.ExtractFeatures(together(ONE, names), metadata=AUTHORISED)
    assert set(memoryview(reply.features.data).cast("f")) == {321.0}
    assert reply.image_digest == digest_of(ONE)


async def test_a_worker_that_has_answered_is_sent_large_ones_no_more(served: Running) -> None:
    large = b"say 20" + b" " * LARGE_BYTES
    await send(served, large)
    answers = []
    for own in (ONE, ONE, large):
        reply = await served.dino.ExtractFeatures(
            together(own, [digest_of(ONE), digest_of(large)]), metadata=AUTHORISED
        )
        answers.append(memoryview(reply.features.data).cast("f")[0])
    # These engines keep no basis: what they say is what they were sent.
    assert answers == [21.0, 1.0, 21.0]


async def test_all_that_are_gone_are_named_and_not_found(served: Running) -> None:
    await send(served, TWO)
    gone = together(ONE, [digest_of(each) for each in (b"say 4", TWO, THREE)])
    error = await refusal(served.dino.ExtractFeatures(gone, metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    told = violations(error)
    assert list(told) == [f"{FIELD}[0]", f"{FIELD}[2]"]
    assert digest_of(THREE) in told[f"{FIELD}[2]"]
    others = together(ONE, [digest_of(TWO)])
    error = await refusal(served.dino.ExtractFeatures(others, metadata=OTHER_KEY))
    assert error.code() == grpc.StatusCode.NOT_FOUND, "another key has sent it"


async def test_what_is_no_digest_is_a_bad_field(served: Running) -> None:
    error = await refusal(served.dino.ExtractFeatures(together(ONE, ["sha256:12"]), metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "64 hexadecimal digits" in violations(error)[f"{FIELD}[0]"]


def test_as_many_pictures_may_be_allowed_as_a_request_can_name() -> None:
    (most,) = (
        each.max_length
        for each in FeatureParams.model_fields["pca_digests"].metadata
        if isinstance(each, MaxLen)
    )
    settings = TypeAdapter(GatewaySettings)
    assert settings.validate_python({"max_basis_pictures": 1 + most}).max_basis_pictures == 1 + most
    with pytest.raises(ValidationError, match="max_basis_pictures"):
        settings.validate_python({"max_basis_pictures": 2 + most})


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"max_basis_pictures": 2}, "these are 3 pictures, at most 2 (--max-basis-pictures)"),
        # Each comes alone, and all are too large together.
        ({"max_request_bytes": 40_000}, "at most 40000 (--max-request-bytes)"),
    ],
    ids=str,
)
async def test_too_many_or_too_large_ones_are_refused(limits: dict[str, int], told: str) -> None:
    async with start(**limits) as served:
        pictures = [b"blank " + bytes([each]) * 15_000 for each in range(3)]
        await send(served, *pictures)
        named = together(pictures[0], [digest_of(each) for each in pictures])
        error = await refusal(served.dino.ExtractFeatures(named, metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert told in violations(error)[FIELD]
        if "max_basis_pictures" in limits:
            fewer = together(pictures[0], [digest_of(each) for each in pictures[:2]])
            await served.dino.ExtractFeatures(fewer, metadata=AUTHORISED)


async def test_an_estimate_counts_all_pictures(served: Running) -> None:
    await send(served, TWO, THREE)
    alone, both = ([digest_of(each) for each in named] for named in ((ONE,), (TWO, THREE)))
    one, three = [await estimated(served, together(ONE, digests)) for digests in (alone, both)]
    assert three.queue_bytes == len(ONE) + len(TWO) + len(THREE)
    assert three.cost_s == pytest.approx(3 * one.cost_s)


async def test_with_other_options_the_same_pictures_cost_as_much_as_before(served: Running) -> None:
    await send(served, TWO, THREE)
    named = together(ONE, [digest_of(each) for each in (TWO, THREE)])
    await served.dino.ExtractFeatures(named, metadata=AUTHORISED)
    named.params.facet = dino_pb2.FACET_KEY
    one, three = [await estimated(served, each) for each in (together(ONE, []), named)]
    assert three.cost_s == pytest.approx(3 * one.cost_s)


async def test_without_a_place_for_bases_nothing_is_known_of_pictures() -> None:
    async with start(basis_cache=0) as served:
        await send(served, TWO)
        named = together(ONE, [digest_of(TWO)])
        await served.dino.ExtractFeatures(named, metadata=AUTHORISED)
        # What it has cost is what it will.
        assert (await estimated(served, named)).basis == estimate_pb2.COST_BASIS_ALIKE


async def estimated(
    served: Running, asked: dino_pb2.DinoServiceExtractFeaturesRequest
) -> estimate_pb2.EstimateResponse:
    stub = estimate_pb2_grpc.EstimateServiceStub(served.channel)
    request = estimate_pb2.EstimateRequest(extract_dino_features=asked)
    reply: estimate_pb2.EstimateResponse = await stub.Estimate(request, metadata=AUTHORISED)
    return reply
