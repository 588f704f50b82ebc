"""docs/rest-api.md, the document that callers read, and the contract say the same."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import BaseModel

from featsvc.v1 import schema
from featsvc.work.presets import in_force
from tests.servers import ROOT

# Each endpoint of the document, in its order, and the classes that its body consists of.
BODIES: list[tuple[str, tuple[type[BaseModel], ...]]] = [
    ("/extract", (schema.ClipExtractFeaturesParams,)),
    ("/encode_text", (schema.Texts, schema.EncodeTextParams)),
    ("/similarity", (schema.TextQuery, schema.ComputeSimilarityParams)),
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
