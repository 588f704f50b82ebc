"""What /openapi.json says: every field of every body with description, default and example, every reply and error."""

from __future__ import annotations

import base64
import io
import json
from functools import cache
from typing import Any

import orjson
import pytest
from PIL import Image

from featsvc.wrong_keys import WrongKeys
from rest_shim.app.documentation import PortModels
from rest_shim.app.endpoints import FAMILIES, Endpoint
from rest_shim.app.health import Counter
from rest_shim.app.ports import application
from rest_shim.app.transcoder import Terms
from rest_shim.call.gateway import GatewayClient
from rest_shim.request.reading import BodyLimits
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
        # Of /extract: clients of the document send them here too.
        "load_size": 1024, "center_crop": False, "pca_niter": 5, "pca_q_min": 0.01, "pca_q_max": 0.99,
        "interpolation_mode": "bilinear", "tensor_format": "HWC", "padding_mode": "constant",
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
    "clip/embed_pyramid": {
        "tile_ratio_min": 0.05, "tile_ratio_max": 0.5, "tile_levels": 7, "tile_stride_ratio": 0.5,
        "pyramid_dtype": "float32", "model_name": "ViT-L-14-336-quickgelu", "model_pretrained": "openai",
    },
    "sam2/embed_image": {
        "model_cfg": "configs/sam2.1/sam2.1_hiera_l.yaml", "checkpoint_path": "checkpoints/sam2.1_hiera_large.pt",
        "ret_embedding": False, "embedding_dtype": "float16",
    },
}  # fmt: skip
FIELDS = {
    "clip/extract": {"image"},
    "clip/encode_text": {"text"},
    "clip/similarity": {"image", "text"},
    "dino/extract": {"image"},
    "sam2/auto_mask": {"image", "point_grids"},
    "sam2/prompt_mask": {"image", "point_coords", "point_labels", "box", "mask_input", "mask_input_shape"},
    "clip/encode_image": {"image"},
    "clip/embed_pyramid": {"image", "scaled_points"},
    "sam2/embed_image": {"image"},
}
# The whole block of /auto_mask, as a body.
FINE_GRAINED = {
    "image": PICTURE, "preset": "fine_grained", "points_per_side": 64, "points_per_batch": 128, "pred_iou_thresh": 0.7,
    "stability_score_thresh": 0.92, "stability_score_offset": 0.7, "mask_threshold": 0.0, "box_nms_thresh": 0.7,
    "crop_n_layers": 1, "crop_nms_thresh": 0.7, "crop_overlap_ratio": 0.3413333333333333,
    "crop_n_points_downscale_factor": 2, "point_grids": None, "min_mask_region_area": 25.0, "use_m2m": True,
    "multimask_output": True, "output_mode": "binary_mask",
}  # fmt: skip


# What a gateway tells that serves the demo models.
DEMO = {
    "clip": {"model_name": "demo-clip", "model_pretrained": "demo"},
    "dino": {"model_type": "demo-dino"},
    "sam2": {"model_cfg": "demo-sam2.yaml", "checkpoint_path": "checkpoints/demo-sam2.safetensors"},
}


@cache
def document(family: str, *, demo: bool = False) -> dict[str, Any]:
    gateway = GatewayClient.__new__(GatewayClient)
    terms = Terms(gateway, BodyLimits(1, 1), 1, WrongKeys(), refused_key=None)
    models = PortModels(DEMO[family], DEMO[family]) if demo else PortModels()
    written = application(FAMILIES[family], terms, ("*",), Counter()).document(models, "")
    found: dict[str, Any] = orjson.loads(written)
    return found


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
def test_an_option_may_be_left_out_or_null_and_tells_its_default_in_words_only(
    family: str, endpoint: Endpoint
) -> None:
    # Generators write what stands as `default` into every request, so that a preset would be overridden.
    shown = request_schema(document(family), endpoint)
    assert shown.get("required", []) == [
        name for name, field in endpoint.body.model_fields.items() if field.is_required()
    ]
    for name, field in endpoint.body.model_fields.items():
        assert "default" not in shown["properties"][name], name
        if field.is_required():
            continue
        assert {"type": "null"} in shown["properties"][name]["anyOf"], name
        told = default_told(shown["properties"][name])
        assert told == (None if field.default == () else field.default), name


def default_told(shown: dict[str, Any]) -> Any:
    _, said, default = shown["description"].rpartition(" Default: ")
    return json.loads(default.removesuffix(".")) if said else None


@pytest.mark.parametrize("name", DOCUMENTED)
def test_defaults_and_fields_are_those_of_the_document(name: str) -> None:
    family, _, path = name.partition("/")
    endpoint = next(each for each in FAMILIES[family].endpoints if each.path == f"/{path}")
    shown = request_schema(document(family), endpoint)["properties"]
    assert {field: default_told(shown[field]) for field in DOCUMENTED[name]} == DOCUMENTED[name]
    assert FIELDS[name] <= shown.keys()
    assert ("image_url" in shown) == ("image" in shown)


@each_endpoint
def test_the_models_shown_are_those_that_the_server_has(family: str, endpoint: Endpoint) -> None:
    shown = request_schema(document(family, demo=True), endpoint)
    assert {name: default_told(shown["properties"][name]) for name in DEMO[family]} == DEMO[family]
    (example,) = shown["examples"]
    assert {name: example[name] for name in DEMO[family]} == DEMO[family]


@each_endpoint
def test_the_example_is_a_whole_body_about_a_real_picture(family: str, endpoint: Endpoint) -> None:
    (example,) = request_schema(document(family), endpoint)["examples"]
    endpoint.body.model_validate(example)
    assert ("image" in example) == ("image" in endpoint.body.model_fields)
    if "image" in example:
        picture = Image.open(io.BytesIO(base64.b64decode(example["image"])))
        assert picture.size == (96, 96)
    assert len(json.dumps(example)) < 1000


@pytest.mark.parametrize("family", FAMILIES)
def test_generated_clients_get_names_that_a_person_would_choose(family: str) -> None:
    operations = {
        operation["operationId"]: (method, path)
        for path, methods in document(family)["paths"].items()
        for method, operation in methods.items()
    }
    assert operations == {
        "health": ("get", "/health"),
        "readyz": ("get", "/readyz"),
        **{endpoint.path[1:]: ("post", endpoint.path) for endpoint in FAMILIES[family].endpoints},
        **{
            f"estimate_{endpoint.path[1:]}": ("post", f"/estimate{endpoint.path}")
            for endpoint in FAMILIES[family].endpoints
        },
    }


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
def test_a_key_is_asked_for_everywhere_but_at_health_and_readiness(family: str) -> None:
    whole = document(family)
    assert whole["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            assert bool(operation.get("security")) == (path not in ("/health", "/readyz"))


def test_the_documented_paths_are_all_there() -> None:
    asked = {
        "clip": {"/extract", "/encode_text", "/similarity", "/encode_image", "/embed_pyramid"},
        "dino": {"/extract"},
        "sam2": {"/auto_mask", "/describe_objects", "/embed_image", "/find_objects", "/prompt_mask"},
    }
    assert {name: set(document(name)["paths"]) for name in FAMILIES} == {
        name: paths | {f"/estimate{path}" for path in paths} | {"/health", "/readyz"}
        for name, paths in asked.items()
    }


def choices(node: Any) -> list[list[dict[str, Any]]]:
    """Every anyOf of a document."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    mine = [node["anyOf"]] if isinstance(node, dict) and isinstance(node.get("anyOf"), list) else []
    return [*mine, *(each for part in below for each in choices(part))]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_choice_is_between_two_kinds_of_lists(family: str) -> None:
    # Generated clients look whether it is a list, and take the first kind.
    found = choices(document(family))
    assert found
    for each in found:
        assert sum(choice.get("type") == "array" for choice in each) <= 1, each
