"""Automatic masks one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, Mask, MasksSummary, errors

from featsvc.codec.arrays import to_bits, to_tensor
from featsvc.v1 import sam2_pb2
from tests.client.conftest import QUICK
from tests.client.gateway import Refusal, answering
from tests.client.samples import PICTURE

Part = sam2_pb2.GenerateMasksStreamResponse
SHAPE = (4, 5)
BITMAPS = [np.arange(20).reshape(SHAPE) == number for number in range(3)]
MASKS = [Part(mask=sam2_pb2.Mask(bitmap=to_bits(each), area=1)) for each in BITMAPS]
SUMMARY = Part(summary=sam2_pb2.MasksSummary(count=3, height=4, width=5, model="m", image_digest="sha256:0"))
LOST = Refusal(grpc.StatusCode.UNAVAILABLE, "worker lost")


def blocking(target: str, **options: Any) -> list[Any]:
    with FeatsvcClient(target, retry=QUICK) as client:
        return list(client.generate_masks_stream(PICTURE, **options))


def awaiting(target: str, **options: Any) -> list[Any]:
    async def call() -> list[Any]:
        async with AsyncFeatsvcClient(target, retry=QUICK) as client:
            return [each async for each in client.generate_masks_stream(PICTURE, **options)]

    return asyncio.run(call())


@pytest.fixture(params=[blocking, awaiting], ids=["blocking", "asyncio"])
def parts(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    return request.param


def check(found: list[Any]) -> None:
    *masks, summary = found
    assert all(isinstance(mask, Mask) for mask in masks)
    for mask, bitmap in zip(masks, BITMAPS, strict=True):
        np.testing.assert_array_equal(mask.segmentation, bitmap)
    assert isinstance(summary, MasksSummary)
    assert (summary.count, summary.height, summary.width) == (3, 4, 5)
    assert (summary.model, summary.image_digest, summary.label_map) == ("m", "sha256:0", None)


def test_masks_come_one_by_one_then_a_summary(parts: Callable[..., list[Any]]) -> None:
    with answering([*MASKS, SUMMARY]) as script:
        check(parts(script.target, preset="coarse"))
    assert script.paths == ["GenerateMasksStream"]
    assert script.requests[0].params.preset == sam2_pb2.PRESET_COARSE


def test_after_a_broken_attempt_each_mask_still_comes_once(parts: Callable[..., list[Any]]) -> None:
    with answering([MASKS[0], LOST], [*MASKS[:2], LOST], [*MASKS, SUMMARY]) as script:
        check(parts(script.target))
    assert len(script.requests) == 3


def test_masks_without_a_summary_are_a_server_error(parts: Callable[..., list[Any]]) -> None:
    with answering(MASKS) as script, pytest.raises(errors.ServerError, match="after 3 masks without"):
        parts(script.target)


def test_attempts_are_bounded(parts: Callable[..., list[Any]]) -> None:
    with answering([MASKS[0], LOST]) as script, pytest.raises(errors.Unavailable, match="worker lost"):
        parts(script.target)
    assert len(script.requests) == QUICK.attempts


def test_a_label_map_comes_with_the_summary(parts: Callable[..., list[Any]]) -> None:
    labels = np.arange(20, dtype=np.uint16).reshape(SHAPE)
    mask = Part(mask=sam2_pb2.Mask(area=1))
    summary = Part(summary=sam2_pb2.MasksSummary(count=2, label_map=to_tensor(labels)))
    with answering([mask, mask, summary]) as script:
        _, second, found = parts(script.target, mask_encoding="label_map")
    np.testing.assert_array_equal(found.label_map, labels)
    with pytest.raises(ValueError, match="label_map == 2"):
        _ = second.segmentation


def test_leaving_early_ends_the_call() -> None:
    with answering([*MASKS, SUMMARY]) as script, FeatsvcClient(script.target) as client:
        masks = client.generate_masks_stream(PICTURE)
        next(masks)
        masks.close()
        assert list(masks) == []
        check(list(client.generate_masks_stream(PICTURE)))


def test_wrong_options_are_raised_before_the_first_mask_is_asked_for() -> None:
    with answering(SUMMARY) as script, FeatsvcClient(script.target) as client:
        with pytest.raises(errors.InvalidRequest, match="preset"):
            client.generate_masks_stream(PICTURE, preset="corase")  # type: ignore[arg-type]
        assert script.requests == []
