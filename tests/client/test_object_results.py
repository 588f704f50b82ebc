"""Objects as the clients answer them, and the forms that other programs take."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from featsvc_client.drawing import colours_of_texts, palette
from featsvc_client.object_results import FoundObjects, Objects, objects
from featsvc_client.object_sources import object_source
from featsvc_client.results import Beside
from featsvc_client.rle import from_coco

from featsvc.twin import from_message, to_message
from featsvc.v1 import objects_pb2, sam2_pb2, schema, tensor_pb2

MASKS = np.zeros((2, 4, 5), bool)
MASKS[0, 1:3, 1:4] = True
MASKS[1, 2, 2] = True
VECTORS = np.array([[0.6, 0.8], [1, 0]], np.float32)


def mask(index: int, box: tuple[int, int, int, int]) -> sam2_pb2.Mask:
    bits = np.packbits(MASKS[index], axis=-1).tobytes()
    x, y, width, height = box
    return sam2_pb2.Mask(
        bitmap=tensor_pb2.Tensor(dtype="D_TYPE_BITS", shape=(4, 5), data=bits),
        area=int(MASKS[index].sum()),
        bbox=sam2_pb2.Rectangle(x=x, y=y, width=width, height=height),
        predicted_iou=0.5,
    )


@pytest.fixture
def answer() -> Objects:
    tensor = tensor_pb2.Tensor(dtype="D_TYPE_FLOAT32", shape=VECTORS.shape, data=VECTORS.tobytes())
    return objects(
        objects_pb2.DescribeObjectsResponse(
            objects=[
                objects_pb2.SceneObject(mask=mask(0, (1, 1, 2, 1))),
                objects_pb2.SceneObject(mask=mask(1, (2, 2, 0, 0)), level=1, parent=0),
            ],
            descriptors=[objects_pb2.ObjectVectors(vectors=tensor, model="demo-clip")],
            height=4,
            width=5,
            model="demo-sam2",
        ),
        Beside(),
    )


def test_objects_are_arrays(answer: Objects) -> None:
    np.testing.assert_array_equal(answer.masks, MASKS)
    np.testing.assert_array_equal(answer.boxes, [[1, 1, 4, 3], [2, 2, 3, 3]])
    np.testing.assert_array_equal(answer.descriptors[0].array, VECTORS)
    assert [(each.level, each.parent) for each in answer] == [(0, None), (1, 0)]
    assert repr(answer).startswith("Objects: 2 in 5 x 4, ObjectVectors(raw=")


def test_no_objects_are_arrays_too() -> None:
    empty = objects(objects_pb2.DescribeObjectsResponse(height=4, width=5), Beside())
    assert (empty.masks.shape, empty.boxes.shape, empty.to_coco()) == ((0, 4, 5), (0, 4), [])


def test_coco_has_run_lengths_and_its_own_boxes(answer: Objects) -> None:
    one, two = json.loads(json.dumps(answer.to_coco(image_id=7, category_id=3)))
    assert (one["image_id"], one["category_id"], one["bbox"], one["area"]) == (7, 3, [1, 1, 3, 2], 6)
    assert (two["id"], two["level"], two["parent"]) == (2, 1, 0)
    np.testing.assert_array_equal(from_coco(two["segmentation"]).decoded(), MASKS[1])


def test_detections_are_made_by_supervision_where_it_is(
    answer: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType("supervision")
    module.Detections = SimpleNamespace
    monkeypatch.setitem(sys.modules, "supervision", module)
    found: Any = answer.to_detections()
    np.testing.assert_array_equal(found.xyxy, answer.boxes)
    np.testing.assert_array_equal(found.mask, MASKS)
    np.testing.assert_array_equal(found.data["vectors"], VECTORS)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError):
        answer.to_detections()


def test_objects_are_drawn_in_the_colours_of_the_texts_that_they_fit_best() -> None:
    def matches(*scores: float) -> objects_pb2.ObjectMatches:
        return objects_pb2.ObjectMatches(
            matches=[objects_pb2.ObjectMatch(object=index, score=each) for index, each in enumerate(scores)]
        )

    reply = objects_pb2.FindObjectsResponse(
        objects=[objects_pb2.SceneObject(mask=mask(index, (0, 0, 0, 0))) for index in range(2)],
        found=[matches(0.1, 0.9), matches(0.8, 0.2)],
        height=4,
        width=5,
    )
    picture = np.zeros((4, 5, 3), np.uint8)
    drawn = np.asarray(colours_of_texts(picture, FoundObjects(reply, Beside()), ("one", "two"), opacity=1))
    # Below is a line for each text, after a square of its colour.
    assert drawn.shape == (4 + 2 * 18, 5, 3)
    colours = palette(2)
    # Others are at the border of an object.
    np.testing.assert_array_equal(drawn[1, 1], colours[2])
    np.testing.assert_array_equal(drawn[0, 0], 0)
    assert {tuple(each) for each in drawn[:4].reshape(-1, 3)} <= {
        (0, 0, 0),
        (255, 255, 255),
        *map(tuple, colours[1:]),
    }


def test_a_table_has_a_row_for_each_object(answer: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("pandas")
    module.DataFrame = dict
    module.array = lambda values, dtype: values
    monkeypatch.setitem(sys.modules, "pandas", module)
    table: Any = answer.to_table()
    assert table["parent"] == [None, 0]
    assert list(table["x1"]) == [4, 3]
    np.testing.assert_array_equal(table["vectors_0"][1], VECTORS[1])


def test_arrays_are_masks_or_a_map_of_numbers() -> None:
    names = [
        name for name, each in schema.ObjectSource.model_fields.items() if "Tensor" in str(each.annotation)
    ]
    labels = MASKS[0] + 2 * MASKS[1].astype(int)
    found = [object_source({name: array}) for name, array in zip(names, (MASKS, labels), strict=True)]
    read = [
        from_message(
            to_message(schema.ObjectSource.model_validate(each), objects_pb2.ObjectSource),
            schema.ObjectSource,
        )
        for each in found
    ]
    bits, numbers = (getattr(each, name) for each, name in zip(read, names, strict=True))
    assert (bits.dtype, bits.shape, len(bits.data)) == ("bits", (2, 4, 5), 8)
    np.testing.assert_array_equal(np.frombuffer(numbers.data, "<i8").reshape(numbers.shape), labels)
