"""docs/rest-api.md, the document that callers read, and the contract say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from pydantic import BaseModel

from featsvc.v1 import schema
from featsvc.work.presets import explicit, in_force
from featsvc.work.recipes import RECIPES
from tests.servers import ROOT

# Each endpoint of the document, in its order, and the classes that its body consists of.
BODIES: list[tuple[str, tuple[type[BaseModel], ...]]] = [
    ("/extract", (schema.ClipExtractFeaturesParams,)),
    ("/encode_text", (schema.Texts, schema.EncodeTextParams)),
    ("/similarity", (schema.TextQuery, schema.ComputeSimilarityParams)),
    ("/embed_pyramid", (schema.EmbedPyramidParams,)),
    ("/extract", (schema.DinoExtractFeaturesParams,)),
    ("/auto_mask", (schema.GenerateMasksParams,)),
    ("/prompt_mask", (schema.Prompt, schema.PredictMasksParams)),
    ("/embed_image", (schema.EmbedImageParams,)),
    ("/describe_objects", (schema.ObjectSource, schema.DescribeObjectsParams)),
    ("/find_objects", (schema.ObjectQuery, schema.ObjectSource, schema.FindObjectsParams)),
]
# What the document shows as an example and not as a default.
EXAMPLES = {
    "image",
    "text",
    "point_coords",
    "point_labels",
    "scaled_points",
    "box",
    "boxes",
    "describe",
    "mask_input",
    "mask_input_shape",
    "preset",
    "ret_embedding",
}


def blocks() -> list[tuple[str, dict[str, object]]]:
    text = (ROOT / "docs" / "rest-api.md").read_text()
    found = re.findall(r"#+ POST `(\S+)`.*?<<'JSON'\n(.*?)\nJSON", text, re.DOTALL)
    return [(endpoint, json.loads(body)) for endpoint, body in found]


def test_the_document_shows_every_endpoint_in_order() -> None:
    assert [endpoint for endpoint, _ in blocks()] == [endpoint for endpoint, _ in BODIES]


@pytest.mark.parametrize("index", range(len(BODIES)))
def test_every_documented_field_exists_with_the_documented_default(index: int) -> None:
    _, shown = blocks()[index]
    _, classes = BODIES[index]
    fields = {name: field for each in classes for name, field in each.model_fields.items()}
    assert set(shown) - {"image", "mask_input_shape"} <= set(fields)
    preset = shown.get("preset")
    for name, value in shown.items():
        if name in EXAMPLES:
            continue
        default = fields[name].default
        if preset:
            default = getattr(in_force(schema.GenerateMasksParams(preset=preset)), name)
        assert default == value or (value is None and default in (None, ())), name


def test_the_table_of_recipes_has_all_of_their_values() -> None:
    text = (ROOT / "docs" / "objects.md").read_text().split("## Published recipes")[1].split("\n## ")[0]
    _, *rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", text, re.MULTILINE)
    shown = [
        (name, *(dict(re.findall(r"`(\w+)` ([\w. -]+)", column)) for column in columns))
        for name, *columns in rows
    ]
    expected = []
    for name, values in RECIPES.items():
        masks = {key: value for key, value in explicit(values).items() if key != "describe"}
        (way,) = values.describe
        expected.append((name.value, words(masks), words(leaves(way))))
    assert shown == expected


def words(values: Mapping[str, object]) -> dict[str, str]:
    """Values as the table has them."""
    return {
        name: " ".join(value)
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value).lower()
        for name, value in values.items()
    }


def leaves(message: BaseModel) -> dict[str, object]:
    """All values that were given, inside of what was given too."""
    found: dict[str, object] = {}
    for name, value in explicit(message).items():
        found |= leaves(value) if isinstance(value, BaseModel) else {name: value}
    return found
