"""Objects as the clients answer them, and the forms that other programs take."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from featsvc_client.drawing import colours_of_texts, overlay, palette
from featsvc_client.errors import InvalidRequest
from featsvc_client.masks import instance_map
from featsvc_client.object_results import FoundObjects, Objects, objects
from featsvc_client.object_sources import object_query, object_source
from featsvc_client.results import Beside
from featsvc_client.rle import from_coco
from PIL import Image

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
    assert repr(empty) == "Objects: 0 in 5 x 4"


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


def found_objects(*scores: tuple[float, ...]) -> FoundObjects:
    """Both objects, with their scores for each text."""
    reply = objects_pb2.FindObjectsResponse(
        objects=[objects_pb2.SceneObject(mask=mask(index, (0, 0, 0, 0))) for index in range(2)],
        found=[
            objects_pb2.ObjectMatches(
                matches=[objects_pb2.ObjectMatch(object=index, score=each) for index, each in enumerate(own)]
            )
            for own in scores
        ],
        height=4,
        width=5,
    )
    return FoundObjects(reply, Beside())


def test_found_objects_are_shown_with_what_fits_each_text() -> None:
    assert repr(found_objects((0.5, 0.25), ())) == (
        "FoundObjects: 2 in 5 x 4\n  found[0]: object 0 (0.5), object 1 (0.25)\n  found[1]: nothing"
    )
    assert repr(found_objects((0.5,) * 9)).endswith("object 3 (0.5), 5 more")


def test_objects_are_drawn_in_the_colours_of_the_texts_that_they_fit_best() -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    found = found_objects((0.1, 0.9), (0.8, 0.2))
    drawn = np.asarray(colours_of_texts(picture, found, ("one", "two"), opacity=1))
    # Below is a line for each text, after a square of its colour.
    assert drawn.shape[0] == 4 + 2 * 18
    colours = palette(2)
    # Others are at the border of an object.
    np.testing.assert_array_equal(drawn[1, 1], colours[2])
    np.testing.assert_array_equal(drawn[0, 0], 0)
    assert {tuple(each) for each in drawn[:4].reshape(-1, 3)} <= {
        (0, 0, 0),
        (255, 255, 255),
        *map(tuple, colours[1:]),
    }


def test_a_legend_is_as_wide_as_its_texts() -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    found = found_objects((0.5,), ())
    short, long, longer = (
        colours_of_texts(picture, found, ("a", "b" * count), opacity=1) for count in (20, 150, 5000)
    )
    assert 5 < short.width < long.width < longer.width < 3000
    # The last letters are on it, and white is behind them.
    assert (np.asarray(long)[-18:, -20:-6] < 128).any()
    assert (np.asarray(long)[:, -5:] == 255).all()
    one = colours_of_texts(picture, found_objects((0.5,)), "a red star")
    assert one.height == 4 + 18
    assert colours_of_texts(picture, found).size == (5, 4)


@pytest.mark.parametrize("is_file", [True, False])
def test_what_was_asked_about_a_picture_as_it_is_shown_lies_on_it_as_it_is_shown(
    tmp_path: Path, is_file: bool, answer: Objects
) -> None:
    stored, exif = Image.new("RGB", (4, 5)), Image.Exif()
    stored.putpixel((0, 0), (255, 255, 255))
    exif[0x0112] = 6
    stored.save(path := tmp_path / "turned.png", exif=exif)
    with Image.open(path) as opened:
        picture = path if is_file else opened
        coloured = colours_of_texts(picture, found_objects((0.5,)), opacity=0, orientation="shown")
        tinted = overlay(picture, answer, opacity=0, outline=False, orientation="shown")
        with pytest.raises(ValueError, match="the orientation of the question"):
            overlay(picture, answer)
    for each in (coloured, tinted):
        # Turned by a quarter to the right, as number 6 wants it, the first pixel is the upper right one.
        assert each.size == (5, 4)
        assert each.getpixel((4, 0)) == (255, 255, 255)
    assert instance_map(answer).shape == (4, 5)


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


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.array(["a", "b"]), "array of booleans or numbers, not <U1"),
        (np.array(1.0), "not a single number"),
        (np.zeros((1, 2, 3)), "not 1 x 2 x 3"),
        ([[1, 2], [3]], "rows differ in length"),
    ],
    ids=str,
)
def test_vectors_that_are_none_are_refused(vectors: object, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        object_query({"vectors": vectors})
    assert [each.field for each in caught.value.violations] == ["vectors"]
