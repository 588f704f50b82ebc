"""What `help`, editors and type checkers know of the options: all of them, with defaults and meanings."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, clip_client, dino_client, sam2_client

from featsvc.v1 import params, schema

ROOT = Path(__file__).parents[2]
DINO = schema.DinoExtractFeaturesParams
AUTOMATIC = schema.GenerateMasksParams
PROMPTS = (schema.Prompt, schema.PredictMasksParams)
SIMILARITY = (schema.TextQuery, schema.ComputeSimilarityParams)


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (FeatsvcClient.dino_features, (schema.Image, DINO)),
        (FeatsvcClient.similarity, SIMILARITY),
        (FeatsvcClient.predict_masks, PROMPTS),
        (FeatsvcClient.stream_dino_features, (DINO,)),
        (AsyncFeatsvcClient.generate_masks, (AUTOMATIC,)),
        (AsyncFeatsvcClient.stream_predict_masks, PROMPTS),
        (clip_client.compute_clip_similarity_decoded, SIMILARITY),
        (dino_client.extract_dino_features, (schema.Image, DINO)),
        (sam2_client.generate_sam2_auto_masks, (AUTOMATIC,)),
        (sam2_client.sam2_point_mask, PROMPTS),
    ],
)
def test_help_lists_every_option_with_its_default_and_meaning(
    function: Callable[..., Any], parts: tuple[Any, ...]
) -> None:
    found = inspect.signature(function).parameters
    assert not [each for each in found.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
    shown = " ".join(pydoc.plain(pydoc.render_doc(function)).split())
    for part in parts:
        for name, field in part.model_fields.items():
            if name not in getattr(params, part.__name__).__annotations__:
                continue
            assert name in found
            assert " ".join(str(field.description).split()) in shown
            if not field.is_required() and isinstance(field.default, bool | int | float):
                assert found[name].default == field.default


def test_help_of_a_bound_method_leaves_self_out() -> None:
    with FeatsvcClient() as client:
        assert list(inspect.signature(client.dino_features).parameters)[:2] == ["image", "timeout"]


def test_editors_read_defaults_beside_the_meaning() -> None:
    source = inspect.getsource(params)
    assert re.search(r'points_per_side: int.*\n    """[^"]*Default: 32\."""', source)
    assert re.search(r'facet: Literal\[.*\n    """[^"]*Default: token\."""', source)


PROGRAM = """
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient

def right(client: FeatsvcClient) -> None:
    client.dino_features("a.jpg", load_size=448, ret_pca=True, timeout=5)
    client.similarity("a.jpg", "a car", softmax=None)

async def wrong(client: AsyncFeatsvcClient) -> None:
    await client.dino_features("a.jpg", laod_size=448)
    await client.generate_masks("a.jpg", points_per_side="many")
"""


def test_the_type_checker_takes_options_and_refuses_misspelt_ones(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    errors = re.findall(r"program\.py:(\d+): error: .*\[([a-z-]+)\]", checked.stdout)
    assert errors == [("9", "call-arg"), ("10", "arg-type")], checked.stdout + checked.stderr
