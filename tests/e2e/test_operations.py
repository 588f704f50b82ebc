"""Every operation over both transports: the documented shapes, and the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from featsvc_client import clip_client, dino_client
from featsvc_client.tensors import decoded

from tests.e2e.conftest import HEIGHT, WIDTH
from tests.e2e.transports import Grpc, Rest

CLIP, DINO, SAM2 = "clip_features", "dino_features", "prompt_masks"
# Patches of 16 (demo-clip) and 14 (demo-dino, so the picture is padded to 196 x 266).
CLIP_GRID, DINO_GRID, CHANNELS = (12, 16), (14, 19), 128
LOW_RES = (64, 64)
KEEP = {"load_size": -1}
POINT = {"point_coords": [[128, 96]], "point_labels": [1]}
BOX = {"box": [30, 20, 200, 170]}
# Few points and no thresholds: every candidate that survives suppression is answered.
GRID = {"preset": "coarse", "points_per_side": 4, "pred_iou_thresh": 0, "stability_score_thresh": 0}


@dataclass(frozen=True)
class Case:
    """A question, and the shape of the first array of its answer."""

    operation: str
    shape: tuple[int, ...] | None
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operation} {self.params}"


BY_DINO = {"dense_recipe": "proxyclip", "proxy_model": "demo-dino"}
CASES = [
    Case(CLIP, (*CLIP_GRID, CHANNELS), KEEP),
    Case(CLIP, (*CLIP_GRID, CHANNELS), {"load_size": None}),
    Case(
        CLIP, (*CLIP_GRID, 3), {**KEEP, "ret_pca": True, "pca_q_min": 0.1, "pca_q_max": 0.8, "pca_niter": 2}
    ),
    Case(CLIP, (HEIGHT, WIDTH, 3), {**KEEP, "ret_pca": True, "ret_patches": False}),
    Case(
        CLIP,
        (3, HEIGHT, WIDTH),
        {
            **KEEP,
            "ret_pca": True,
            "ret_patches": False,
            "tensor_format": "CHW",
            "interpolation_mode": "nearest",
        },
    ),
    Case(CLIP, (7, 7, CHANNELS), {"load_size": 100, "center_crop": True, "padding_mode": "reflect"}),
    Case(CLIP, (*CLIP_GRID, CHANNELS), {**KEEP, "model_name": "demo-clip", "model_pretrained": "demo"}),
    Case(
        CLIP,
        (*CLIP_GRID, CHANNELS),
        {**KEEP, "dense_recipe": "naclip", "window_size": 96, "window_stride": 48},
    ),
    Case(CLIP, (*DINO_GRID, CHANNELS), {**KEEP, **BY_DINO, "padding_mode": "replicate"}),
    Case(CLIP, (HEIGHT, WIDTH, 3), {**KEEP, **BY_DINO, "ret_pca": True, "ret_patches": False}),
    Case("encode_text", (CHANNELS,), {"text": "a red circle"}),
    Case("encode_text", (2, CHANNELS), {"text": ["circle", "star"], "templates": ["a red {}", "two of {}"]}),
    Case("encode_text", (1, CHANNELS), {"text": ["a red circle"]}),
    Case("encode_text", (3, CHANNELS), {"text": ["a red circle", "a blue star", "ring"]}),
    Case("similarity", CLIP_GRID, {**KEEP, "text": "a red circle"}),
    Case("similarity", (2, *CLIP_GRID), {**KEEP, "text": ["a red circle", "a star"], "softmax": 0}),
    Case("similarity", (HEIGHT, WIDTH), {**KEEP, "text": "a star", "ret_patches": False, "softmax": 100}),
    Case("similarity", CLIP_GRID, {**KEEP, "text": "a star", "negative_text": ["a ring", "background"]}),
    Case(
        "similarity",
        CLIP_GRID,
        {**KEEP, "text": "star", "template_set": "simple", "dense_recipe": "sclip", "window_size": 96},
    ),
    Case("similarity", DINO_GRID, {**KEEP, "text": "a star", **BY_DINO, "window_size": 112}),
    Case("encode_image", (1, CHANNELS)),
    Case(DINO, (*DINO_GRID, CHANNELS)),
    Case(DINO, (*DINO_GRID, CHANNELS), {"facet": "key", "layer": 3}),
    Case(DINO, (*DINO_GRID, CHANNELS), {"facet": "value", "padding_mode": "circular"}),
    Case(DINO, (27, 37, CHANNELS), {"stride": 7, "facet": "query"}),
    Case(DINO, (*DINO_GRID, 17 * CHANNELS), {"bin": True}),
    Case(DINO, (HEIGHT, WIDTH, 3), {"ret_pca": True, "ret_patches": False, "interpolation_mode": "bicubic"}),
    Case(DINO, (CHANNELS, 7, 10), {"load_size": 98, "tensor_format": "CHW"}),
    Case(DINO, (*DINO_GRID, 3), {"ret_pca": True, "pca_foreground": True}),
    Case("embedding", (1, 128, 16, 16), {"ret_embedding": True}),
    Case("embedding", (1, 128, 16, 16), {"ret_embedding": True, "embedding_dtype": "float32"}),
    Case(SAM2, (3, HEIGHT, WIDTH), POINT),
    Case(SAM2, (1, HEIGHT, WIDTH), {**BOX, "multimask_output": False}),
    Case(SAM2, (3, HEIGHT, WIDTH), {**POINT, **BOX, "return_logits": True}),
    Case(SAM2, (3, HEIGHT, WIDTH)),
    Case(
        SAM2,
        (1, HEIGHT, WIDTH),
        {
            "mask_input": np.where(np.hypot(*np.indices(LOW_RES) - 32) < 16, 8, -8)[None],
            "multimask_output": False,
            "mask_threshold": 1.0,
            "max_hole_area": 10.0,
            "max_sprinkle_area": 10.0,
        },
    ),
    Case(
        SAM2,
        (3, HEIGHT, WIDTH),
        {"point_coords": [[0.5, 0.5]], "point_labels": [1], "normalize_coords": False},
    ),
    Case("auto_masks", None, GRID),
    Case("auto_masks", None, {**GRID, "output_mode": "coco_rle"}),
    Case("auto_masks", None, {**GRID, "output_mode": "uncompressed_rle", "use_m2m": True}),
    Case(
        "auto_masks",
        None,
        {"point_grids": [[[0.3, 0.4], [0.6, 0.5]]], "pred_iou_thresh": 0.0, "stability_score_thresh": 0},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rest_and_grpc_answer_the_same_numbers(
    case: Case, picture: bytes, over_rest: Rest, over_grpc: Grpc
) -> None:
    by_rest = over_rest.ask(case.operation, picture, case.params)
    by_grpc = over_grpc.ask(case.operation, picture, case.params)
    first = next(iter(by_rest.values()))
    assert first.shape == case.shape if case.shape else len(first) > 0
    assert np.isfinite(first.astype(float)).all()
    assert by_rest.keys() == by_grpc.keys()
    for name, array in by_rest.items():
        np.testing.assert_array_equal(array, by_grpc[name], err_msg=name)


@pytest.mark.parametrize("family", ["clip", "dino"])
def test_a_basis_goes_from_one_transport_to_the_other(
    family: str, picture: bytes, other_picture: bytes, over_rest: Rest, over_grpc: Grpc
) -> None:
    clients = {"clip": clip_client.extract_clip_features, "dino": dino_client.extract_dino_features}
    asked = {"load_size": 98, "ret_pca": True}
    reply = clients[family](picture, **asked, ret_pca_basis=True, **over_rest.at(family))
    basis = reply["pca_basis"]
    kept = {**asked, "pca_basis": basis}
    found = over_grpc.ask(f"{family}_features", other_picture, kept)["array"]
    np.testing.assert_array_equal(found, over_rest.ask(f"{family}_features", other_picture, kept)["array"])
    own = over_grpc.ask(f"{family}_features", picture, kept)["array"]
    np.testing.assert_array_equal(own, decoded(reply["features"], reply["shape"]))
    assert "pca_basis" not in clients[family](picture, **kept, **over_rest.at(family))


def test_the_three_output_modes_hold_the_same_masks(picture: bytes, over_grpc: Grpc) -> None:
    modes = ("binary_mask", "coco_rle", "uncompressed_rle")
    first, *others = (over_grpc.ask("auto_masks", picture, {**GRID, "output_mode": mode}) for mode in modes)
    assert len(first["masks"]) > 0
    np.testing.assert_array_equal(first["masks"].sum(axis=(1, 2)), first["area"])
    for other in others:
        np.testing.assert_array_equal(other["masks"], first["masks"])


def test_low_resolution_masks_prompt_the_next_call(picture: bytes, over_rest: Rest, over_grpc: Grpc) -> None:
    for over in (over_rest, over_grpc):
        first = over.ask(SAM2, picture, POINT)
        best = int(first["scores"].argmax())
        again = over.ask(
            SAM2, picture, {**POINT, "mask_input": first["low_res"][[best]], "multimask_output": False}
        )
        both = np.logical_and(first["masks"][best] > 0, again["masks"][0] > 0).sum()
        either = np.logical_or(first["masks"][best] > 0, again["masks"][0] > 0).sum()
        assert both > 0.5 * either


def test_several_prompts_about_one_picture_are_answered_as_if_asked_alone(
    picture: bytes, over_grpc: Grpc
) -> None:
    together = over_grpc.client.predict_masks(picture, [POINT, BOX, {}])
    for found, prompt in zip(together, (POINT, BOX, {}), strict=True):
        (alone,) = over_grpc.client.predict_masks(picture, [prompt])
        assert (found.masks != alone.masks).mean() < 1e-3
        np.testing.assert_allclose(found.iou_predictions, alone.iou_predictions, atol=1e-3)


def test_a_reply_names_the_model_and_how_the_grid_lies_on_the_picture(
    picture: bytes, over_grpc: Grpc
) -> None:
    features = over_grpc.client.dino_features(picture)
    lies = features.geometry
    assert features.model == "demo-dino"
    assert (lies.patch_size, lies.stride, lies.grid_height, lies.grid_width) == (14, 14, *DINO_GRID)
    assert (lies.original_height, lies.original_width) == (HEIGHT, WIDTH)
    assert (lies.pad_bottom, lies.pad_right) == (4, 10)


def test_two_models_answer_with_the_same_bytes_alone_beside_others_and_after_one_was_unloaded(
    picture: bytes, other_picture: bytes, over_grpc: Grpc
) -> None:
    asked = {**KEEP, **BY_DINO}
    alone = over_grpc.client.clip_features(picture, **asked).array
    many = [("one", picture), ("other", other_picture), ("again", picture)]
    beside = dict(over_grpc.client.stream_clip_features(many, **asked))
    assert over_grpc.client.unload_model("demo-dino").loaded_workers == 0
    cold = over_grpc.client.clip_features(picture, **asked)
    for each in (beside["one"], beside["again"], cold):
        assert not isinstance(each, Exception)
        assert each.array.tobytes() == alone.tobytes()
    assert cold.model == "demo-clip"
    assert (cold.geometry.patch_size, cold.geometry.grid_height) == (14, DINO_GRID[0])
