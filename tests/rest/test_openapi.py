"""What /openapi.json says: every field of every body with description, default and example, every reply and error."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from rest_shim.app import application
from rest_shim.endpoints import FAMILIES, Endpoint
from rest_shim.examples import whole_example
from rest_shim.gateway import Gateway
from rest_shim.reading import BodyLimits
from rest_shim.transcoder import Terms
from tests.rest.shim import PICTURE

ENDPOINTS = [(family.name, endpoint) for family in FAMILIES.values() for endpoint in family.endpoints]
NAMES = [f"{family}{endpoint.path}" for family, endpoint in ENDPOINTS]
each_endpoint = pytest.mark.parametrize(("family", "endpoint"), ENDPOINTS, ids=NAMES)

# The blocks of the REST document, word for word, without what only illustrates (the picture, the prompt).
DOCUMENTED: dict[str, dict[str, Any]] = {
    "clip/extract": {
        "model_name": "ViT-L-14-336-quickgelu", "model_pretrained": "openai", "ret_pca": False, "ret_patches": True,
        "load_size": 1024, "center_crop": False, "pca_niter": 5, "pca_q_min": 0.01, "pca_q_max": 0.99,
        "interpolation_mode": "bilinear", "tensor_format": "HWC", "padding_mode": "constant",
    },
    "clip/encode_text": {"model_name": "ViT-L-14-336-quickgelu", "model_pretrained": "openai"},
    "clip/similarity": {
        "model_name": "ViT-L-14-336-quickgelu", "model_pretrained": "openai", "softmax": 1.0, "ret_pca": False,
        "ret_patches": True,
    },
    "dino/extract": {
        "model_type": "dinov2_vitl14", "stride": None, "ret_pca": False, "ret_patches": True, "load_size": -1,
        "facet": "token", "layer": -1, "bin": False, "pca_niter": 5, "pca_q_min": 0.01, "pca_q_max": 0.99,
        "interpolation_mode": "bilinear", "tensor_format": "HWC", "padding_mode": "constant",
    },
    "sam2/prompt_mask": {
        "multimask_output": True, "return_logits": False, "normalize_coords": True, "mask_threshold": 0.0,
        "max_hole_area": 0.0, "max_sprinkle_area": 0.0,
        "model_cfg": "configs/sam2.1/sam2.1_hiera_l.yaml", "checkpoint_path": "checkpoints/sam2.1_hiera_large.pt",
    },
    # The document shows the values of a preset here; without one the sam2 package's own defaults stand.
    "sam2/auto_mask": {
        "preset": None, "points_per_side": 32, "points_per_batch": 64, "pred_iou_thresh": 0.8,
        "stability_score_thresh": 0.95, "stability_score_offset": 1.0, "mask_threshold": 0.0, "box_nms_thresh": 0.7,
        "crop_n_layers": 0, "crop_nms_thresh": 0.7, "crop_overlap_ratio": 512 / 1500,
        "crop_n_points_downscale_factor": 1, "min_mask_region_area": 0.0, "use_m2m": False, "multimask_output": True,
        "output_mode": "binary_mask",
        "model_cfg": "configs/sam2.1/sam2.1_hiera_l.yaml", "checkpoint_path": "checkpoints/sam2.1_hiera_large.pt",
    },
    "clip/encode_image": {"model_name": "ViT-L-14-336-quickgelu", "model_pretrained": "openai"},
}  # fmt: skip
FIELDS = {
    "clip/extract": {"image"},
    "clip/encode_text": {"text"},
    "clip/similarity": {"image", "text"},
    "dino/extract": {"image"},
    "sam2/auto_mask": {"image", "point_grids"},
    "sam2/prompt_mask": {"image", "point_coords", "point_labels", "box", "mask_input", "mask_input_shape"},
    "clip/encode_image": {"image"},
}
# The whole block of /auto_mask, as a body.
FINE_GRAINED = {
    "image": PICTURE, "preset": "fine_grained", "points_per_side": 64, "points_per_batch": 128, "pred_iou_thresh": 0.7,
    "stability_score_thresh": 0.92, "stability_score_offset": 0.7, "mask_threshold": 0.0, "box_nms_thresh": 0.7,
    "crop_n_layers": 1, "crop_nms_thresh": 0.7, "crop_overlap_ratio": 0.3413333333333333,
    "crop_n_points_downscale_factor": 2, "point_grids": None, "min_mask_region_area": 25.0, "use_m2m": True,
    "multimask_output": True, "output_mode": "binary_mask",
}  # fmt: skip


@cache
def document(family: str) -> dict[str, Any]:
    terms = Terms(Gateway.__new__(Gateway), BodyLimits(1, 1), 1, None)
    return application(FAMILIES[family], terms, ("*",)).openapi()


def resolved(node: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: dict[str, Any] = whole["components"]["schemas"][node["$ref"].rpartition("/")[2]]
    return found


def request_schema(whole: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    content = whole["paths"][endpoint.path]["post"]["requestBody"]["content"]
    return resolved(content["application/json"]["schema"], whole)


@each_endpoint
def test_every_field_of_a_body_is_described_and_typed(family: str, endpoint: Endpoint) -> None:
    for name, shown in request_schema(document(family), endpoint)["properties"].items():
        assert shown.get("description"), name
        assert {"type", "anyOf", "$ref", "enum"} & shown.keys(), name


@each_endpoint
def test_every_default_shown_is_the_one_in_force(family: str, endpoint: Endpoint) -> None:
    shown = request_schema(document(family), endpoint)
    for name, field in endpoint.body.model_fields.items():
        if field.is_required():
            assert name in shown["required"]
            continue
        default = shown["properties"][name]["default"]
        assert default == (list(field.default) if field.default == () else field.default), name


@pytest.mark.parametrize("name", DOCUMENTED)
def test_defaults_and_fields_are_those_of_the_document(name: str) -> None:
    family, _, path = name.partition("/")
    endpoint = next(each for each in FAMILIES[family].endpoints if each.path == f"/{path}")
    shown = request_schema(document(family), endpoint)["properties"]
    assert {field: shown[field]["default"] for field in DOCUMENTED[name]} == DOCUMENTED[name]
    assert FIELDS[name] <= shown.keys()
    assert ("image_url" in shown) == ("image" in shown)


@each_endpoint
def test_the_whole_example_is_shown_and_passes(family: str, endpoint: Endpoint) -> None:
    example = whole_example(endpoint.body)
    assert request_schema(document(family), endpoint)["examples"] == [example]
    endpoint.body.model_validate(example | ({"image": PICTURE} if "image" in example else {}))


def test_the_block_of_the_document_for_a_preset_passes() -> None:
    auto_mask = next(each for each in FAMILIES["sam2"].endpoints if each.path == "/auto_mask")
    body = auto_mask.body.model_validate(FINE_GRAINED)
    assert {name: getattr(body, name) for name in ("points_per_side", "use_m2m")} == {
        "points_per_side": 64,
        "use_m2m": True,
    }


@each_endpoint
def test_replies_and_errors_are_documented_with_their_form(family: str, endpoint: Endpoint) -> None:
    whole = document(family)
    responses = whole["paths"][endpoint.path]["post"]["responses"]
    assert {"200", "400", "401", "404", "409", "413", "422", "429", "500", "503", "504"} <= responses.keys()
    for status, response in responses.items():
        schema = resolved(response["content"]["application/json"]["schema"], whole)
        if status != "200":
            assert schema["properties"].keys() == {"detail"}, status
        for name, shown in schema["properties"].items():
            assert shown.get("description"), (status, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_is_asked_for_everywhere_but_at_health(family: str) -> None:
    whole = document(family)
    assert whole["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            assert bool(operation.get("security")) == (path != "/health")


def test_the_documented_paths_are_all_there() -> None:
    assert {name: set(document(name)["paths"]) for name in FAMILIES} == {
        "clip": {"/extract", "/encode_text", "/similarity", "/encode_image", "/health"},
        "dino": {"/extract", "/health"},
        "sam2": {"/auto_mask", "/prompt_mask", "/health"},
    }
