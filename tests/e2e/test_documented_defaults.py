"""Every documented endpoint at its documented defaults, about a photograph of 12 megapixels, over both transports.

The networks are the real ones that fit any machine, with seeded random weights under their publishers' file names.
"""

from __future__ import annotations

import base64
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from featsvc_client import FeatsvcClient, errors, rest

from tests.bench import pictures
from tests.bench.weights import CLIP, DINO, SAM2
from tests.contract.test_document import blocks
from tests.e2e.transports import Grpc, Rest, Transport
from tests.servers import KEY, ROOT, Server, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WEIGHTS = ROOT / "build" / "bench" / "weights"
WIDTH, HEIGHT = 4000, 3000
PATIENCE_S = 800.0
CLIP_MODEL = dict(zip(("model_name", "model_pretrained"), CLIP.split("/"), strict=True))
DINO_MODEL = {"model_type": DINO}
SAM2_MODEL = {
    "model_cfg": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "checkpoint_path": f"checkpoints/{SAM2}.pt",
}


def documented(path: str, family: str) -> dict[str, Any]:
    """The body that the document shows, but for what stands for a picture and for an earlier mask."""
    paths = [(each, body) for each, body in blocks() if each == path]
    body = paths[1 if family == "dino" and path == "/extract" else 0][1]
    return {
        name: value for name, value in body.items() if name != "image" and not name.startswith("mask_input")
    }


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A JPEG file of 12 megapixels."""
    small = pictures.scene(WIDTH // 4, HEIGHT // 4)
    return pictures.file(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


@pytest.fixture(scope="module")
def smaller_photograph() -> bytes:
    """A JPEG file of the size that the document speaks of."""
    small = pictures.scene(900, 600)
    return pictures.file(cv2.resize(small, (1800, 1200), interpolation=cv2.INTER_CUBIC))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`featsvc up` as documented, with the weights in its folder."""
    subprocess.run(
        [sys.executable, "-m", "tests.bench.weights", str(WEIGHTS)], cwd=ROOT, check=True, capture_output=True
    )
    log: Path = tmp_path_factory.mktemp("defaults") / "log"
    flags = (f"--weights-dir={WEIGHTS}", "--devices=cpu", "--offline", f"--request-timeout={PATIENCE_S}")
    with running(log, "up", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def both(server: Server) -> Iterator[tuple[Transport, Transport]]:
    """REST and gRPC."""
    with FeatsvcClient(server.target, api_key=KEY, timeout=PATIENCE_S) as client:
        yield Rest(server, timeout_s=PATIENCE_S), Grpc(client)
    rest.POOLS.close()


def grid(load_size: int, cell: int) -> tuple[int, int]:
    """Rows and columns: the shorter side becomes load_size, both are padded to whole cells."""
    return math.ceil(load_size / cell), math.ceil(int(load_size * WIDTH / HEIGHT) / cell)


TEXT = {"text": "a photo of a car"}
CASES: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "encode_text": (CLIP_MODEL | TEXT, {"array": (512,)}),
    "encode_image": (CLIP_MODEL, {"array": (1, 512)}),
    "clip_features": (documented("/extract", "clip") | CLIP_MODEL, {"array": (*grid(1024, 16), 512)}),
    "similarity": (CLIP_MODEL | TEXT, {"array": grid(1024, 16)}),
    # At the picture's own size this network costs more than a CPU should spend: see below.
    "dino_features": (
        documented("/extract", "dino") | DINO_MODEL | {"load_size": 700},
        {"array": (*grid(700, 14), 384)},
    ),
    "prompt_masks": (
        documented("/prompt_mask", "sam2") | SAM2_MODEL,
        {"masks": (3, HEIGHT, WIDTH), "scores": (3,), "low_res": (3, 256, 256)},
    ),
}


@pytest.mark.parametrize("operation", list(CASES))
def test_a_documented_call_answers_the_documented_shape_alike_over_both_transports(
    both: tuple[Transport, Transport], photograph: bytes, operation: str
) -> None:
    params, shapes = CASES[operation]
    answers = [transport.ask(operation, photograph, params) for transport in both]
    for answer in answers:
        # Over gRPC one text is a row.
        assert {name: answer[name].reshape(shape).shape for name, shape in shapes.items()} == shapes
        assert set(answer) == set(shapes)
        assert all(np.isfinite(array).all() for array in answer.values())
    for name in shapes:
        np.testing.assert_array_equal(
            answers[0][name].reshape(shapes[name]), answers[1][name].reshape(shapes[name])
        )


def test_automatic_masks_as_documented_are_alike_over_both_transports(
    both: tuple[Transport, Transport], photograph: bytes
) -> None:
    # All options as documented but the number of points, of which 64 x 64 take an hour of a CPU, and the thresholds,
    # which masks of random weights seldom reach.
    params = documented("/auto_mask", "sam2") | SAM2_MODEL
    params |= {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    params = {name: value for name, value in params.items() if value is not None}
    over_rest, over_grpc = (transport.ask("auto_masks", photograph, params) for transport in both)
    assert over_rest["masks"].shape[1:] == (HEIGHT, WIDTH)
    assert len(over_rest["masks"]) >= 1
    for name in over_rest:
        np.testing.assert_array_equal(over_rest[name], over_grpc[name])


def test_dino_at_the_document_s_own_size_and_defaults(
    both: tuple[Transport, Transport], smaller_photograph: bytes
) -> None:
    params = documented("/extract", "dino") | DINO_MODEL
    found = both[0].ask("dino_features", smaller_photograph, params)["array"]
    assert found.shape == (86, 129, 384)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("operation", "params", "field", "words"),
    [
        (
            "dino_features",
            DINO_MODEL,
            "load_size",
            "-1 makes 61490 cells of this picture, which cost 72 TFLOP",
        ),
        ("dino_features", DINO_MODEL | {"load_size": 1200, "stride": 7}, "stride", "TFLOP"),
        ("clip_features", CLIP_MODEL | {"load_size": -1}, "load_size", "TFLOP"),
        ("similarity", CLIP_MODEL | TEXT | {"load_size": 3000}, "load_size", "TFLOP"),
    ],
)
def test_what_costs_a_cpu_many_minutes_is_refused_by_field_with_what_fits(
    both: tuple[Transport, Transport],
    photograph: bytes,
    operation: str,
    params: dict[str, Any],
    field: str,
    words: str,
) -> None:
    for transport in both:
        with pytest.raises(errors.InvalidRequest) as caught:
            transport.ask(operation, photograph, params)
        (violation,) = caught.value.violations
        assert violation.field.rpartition(".")[2] == field
        assert words in violation.message
        assert "or less" in violation.message or "fits" in violation.message


def test_the_documented_automatic_masks_are_held_to_no_limit_of_one_message(tmp_path: Path) -> None:
    """Every option as documented, masks as float32 in base64: more than one gRPC message may hold here."""
    drawn = pictures.shapes(1800, 1200, seed=0)
    body = documented("/auto_mask", "sam2") | {"image": base64.b64encode(drawn).decode()}
    body = {name: value for name, value in body.items() if name not in ("model_cfg", "checkpoint_path")}
    flags = ("--profile=demo", "--devices=cpu", "--offline", "--max-reply-bytes=8MiB")
    with running(tmp_path / "log", "up", *flags) as server:
        answer = httpx.post(
            f"{server.url('sam2')}/auto_mask",
            json=body,
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=PATIENCE_S,
        )
    assert answer.status_code == 200, answer.text[:1000]
    found = answer.json()
    assert found["num_masks"] == len(found["masks"]) >= 2
    for mask in found["masks"]:
        assert mask["segmentation_shape"] == [1200, 1800]
        pixels = np.frombuffer(base64.b64decode(mask["segmentation"]), "<f4")
        assert pixels.size == 1800 * 1200
        assert int(pixels.sum()) == mask["area"]
