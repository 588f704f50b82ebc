"""Replies whose arrays stand beside the message give the bytes that the message itself would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message as ProtoMessage

from featsvc.codec.arrays import to_array
from featsvc.server.calls.reply import Reply, encoded
from featsvc.server.services import replies
from featsvc.v1 import clip_pb2, sam2_pb2, tensor_pb2
from featsvc.work.results import Bits, Mask, MaskList, Png, PromptMasks, PromptResults, Rle

SHAPES = [(2, 3, 4), (0, 7), (), (1,), (700, 1000)]
RECTANGLE = (0.0, 1.0, 2.0, 3.0)


def written(part: Reply | ProtoMessage) -> bytes:
    return part.joined() if isinstance(part, Reply) else part.SerializeToString()


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_tensor_in_a_reply_is_the_array(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    message = clip_pb2.ClipServiceExtractFeaturesResponse(model="m", is_pca=True)
    outer = clip_pb2.ClipServiceExtractFeaturesStreamResponse(request_id="r")
    reply = Reply(outer, response=Reply(message, features=replies.tensor(array)))
    read = clip_pb2.ClipServiceExtractFeaturesStreamResponse.FromString(await encoded(reply))
    assert (read.request_id, read.response.model, read.response.is_pca) == ("r", "m", True)
    assert np.array_equal(to_array(read.response.features), array)
    assert to_array(read.response.features).shape == shape


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(20_000, dtype=np.float32).reshape(100, 200).T,
        np.arange(10_000, dtype=">f4"),
        np.arange(24, dtype=np.int8).reshape(2, 12)[:, ::3],
        np.arange(6, dtype=">f4"),
        np.array([True, False]),
        np.arange(3, dtype=np.uint16),
    ],
)
def test_an_array_of_any_layout_is_written_row_by_row_little_endian(array: np.ndarray) -> None:
    tensor = tensor_pb2.Tensor.FromString(written(replies.tensor(array)))
    assert np.array_equal(to_array(tensor), array)


def test_a_dtype_that_numpy_lacks_is_named_beside_the_array() -> None:
    tensor = tensor_pb2.Tensor.FromString(written(replies.tensor(np.array([0x3F80], np.uint16), "bfloat16")))
    assert to_array(tensor).tolist() == [1.0]


def test_all_forms_of_masks_reach_their_fields() -> None:
    bits = Bits(np.array([[0b10100000], [0b01000000]], np.uint8), (2, 3))
    dense = np.array([[1, 0, 1], [0, 1, 0]], np.float32)

    def read(segmentation: Bits | np.ndarray | Rle | Png | None) -> sam2_pb2.Mask:
        mask = Mask(segmentation, 3, RECTANGLE, 0.9, ((1.0, 2.0),), 0.8, RECTANGLE)
        return sam2_pb2.Mask.FromString(written(replies.written(mask)))

    assert np.array_equal(to_array(read(bits).bitmap), dense.astype(bool))
    assert np.array_equal(to_array(read(dense).bitmap), dense)
    assert read(Rle("abc", (2, 3))).rle.coco == "abc"
    assert list(read(Rle((1, 2, 3), (2, 3))).rle.lengths.counts) == [1, 2, 3]
    assert read(Png(b"file")).png == b"file"
    assert read(None).WhichOneof("segmentation") is None
    assert (read(None).area, read(None).bbox.height, read(None).point_coords[0].y) == (3, 3.0, 2.0)


def test_all_forms_of_prompt_masks_reach_their_fields_in_order() -> None:
    ious = np.array([0.5, 0.25], np.float32)
    low, labels = np.ones((2, 4, 4), np.float32), np.ones((2, 3), np.uint16)

    def read(masks: Any, **more: Any) -> sam2_pb2.PromptMasks:
        values: dict[str, Any] = {"low_res_masks": None, **more}
        result = PromptMasks(masks=masks, iou_predictions=ious, **values)
        return sam2_pb2.PromptMasks.FromString(written(replies.written(result)))

    assert np.array_equal(to_array(read(np.ones((2, 2, 3), np.float32)).masks), np.ones((2, 2, 3)))
    assert list(read((Png(b"one"), Png(b"two"))).png) == [b"one", b"two"]
    assert [each.coco for each in read((Rle("a", (2, 3)), Rle("b", (2, 3)))).rle] == ["a", "b"]
    labelled = read(None, low_res_masks=low, label_map=labels)
    assert np.array_equal(to_array(labelled.label_map), labels)
    assert np.array_equal(to_array(labelled.low_res_masks), low)
    assert np.array_equal(to_array(labelled.iou_predictions), ious)
    assert not labelled.HasField("masks")


@pytest.mark.parametrize(
    ("segmentation", "count", "is_long"),
    [
        (Rle("a" * 100_000, (2, 3)), 8, False),
        (Rle((1,) * 20_000, (2, 3)), 1, True),
        (None, 100, True),
        (None, 8, False),
    ],
)
def test_what_takes_long_to_write_is_known_beforehand(
    segmentation: Rle | None, count: int, is_long: bool
) -> None:
    mask = Mask(segmentation, 3, RECTANGLE, 0.9, ((1.0, 2.0),), 0.8, RECTANGLE)
    assert replies.takes_long(MaskList((mask,) * count, 2, 3)) is is_long
    prompted = PromptMasks((segmentation,) * count if segmentation else None, np.zeros(1, np.float32), None)
    assert replies.takes_long(PromptResults((prompted,), 2, 3)) is (is_long and segmentation is not None)


async def test_a_joined_reply_holds_no_array_any_more() -> None:
    array = np.zeros(1 << 20, np.float32)
    reply = Reply(tensor_pb2.Tensor(), data=array)
    whole = await encoded(reply)
    assert len(whole) > array.nbytes
    assert reply.nbytes == 0
