"""What one picture may cost: predicted before the work, refused over the limit, and stopped inside a block."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.ops import batched_nms

from featsvc.engines.answers.axes import principal
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.geometry.sizing import Fit, Grid
from featsvc.engines.networks import attention
from featsvc.engines.networks.cost import (
    BRISK_FLOP,
    NOTED_FLOP,
    TERA,
    Sight,
    Transformer,
    checked_flop,
    max_tflop,
)
from featsvc.engines.networks.packed import packed
from featsvc.engines.registry import Engines
from featsvc.engines.running import interrupt
from featsvc.engines.running.interrupt import interruptible
from featsvc.engines.sam2.embedding import encoder_input
from featsvc.engines.sam2.generate import distinct
from featsvc.engines.sam2.model import Sam2Model
from featsvc.errors import Abandoned, InvalidFields
from featsvc.v1 import schema
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    ComputeSimilarityParams,
    DinoExtractFeaturesParams,
    EncodeImageParams,
    PaddingMode,
    PredictMasksParams,
)
from featsvc.work.item import PromptItem, QueryItem
from featsvc.work.operations import (
    COMPUTE_SIMILARITY,
    ENCODE_IMAGE,
    EXTRACT_CLIP,
    EXTRACT_DINO,
)
from featsvc.work.options import EngineOptions
from tests.engines import models

CPU, GPU = EngineOptions(), EngineOptions(device="cuda:0")
LARGE = {
    "dinov2_vitl14": Transformer(24, 1024, 24 * 1024**2),
    "dinov2_vitg14": Transformer(40, 1536, 24 * 1536**2),
    "ViT-L-14-336-quickgelu/openai": Transformer(24, 1024, 24 * 1024**2),
}
PHOTO, LARGE_PHOTO, COLUMN = (1800, 1200), (4000, 3000), (1, 917_490)


def sight(size: tuple[int, int], load_size: int, stride: int = 14) -> Sight:
    return Sight(size, Fit(load_size, False, PaddingMode.CONSTANT), Grid(14, stride))


@pytest.mark.parametrize(
    ("size", "load_size", "model", "options"),
    [
        (PHOTO, -1, "dinov2_vitl14", CPU),
        (PHOTO, 1024, "ViT-L-14-336-quickgelu/openai", CPU),
        (LARGE_PHOTO, 1024, "ViT-L-14-336-quickgelu/openai", CPU),
        (LARGE_PHOTO, -1, "dinov2_vitl14", GPU),
        (LARGE_PHOTO, -1, "dinov2_vitg14", GPU),
    ],
)
def test_what_is_documented_is_allowed(
    size: tuple[int, int], load_size: int, model: str, options: EngineOptions
) -> None:
    cost = checked_flop(sight(size, load_size), LARGE[model], model, options)
    assert 0 < cost <= max_tflop(options) * TERA


TINY = Transformer(6, 128, 24 * 128**2)


def test_what_takes_a_cpu_minutes_is_told_in_its_log_with_what_takes_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    large = sight(LARGE_PHOTO, -1)
    assert checked_flop(large, TINY, "demo-dino", CPU) > NOTED_FLOP
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "a picture of 4000 x 3000 pixels at load_size -1 makes 61490 cells" in record.message
    advised = re.search(r"take load_size (\d+) or less", record.message)
    assert advised is not None
    caplog.clear()
    assert 0 < checked_flop(sight(LARGE_PHOTO, int(advised[1])), TINY, "demo-dino", CPU) <= BRISK_FLOP
    assert checked_flop(large, TINY, "demo-dino", GPU) > NOTED_FLOP
    assert caplog.records == []


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        (sight(LARGE_PHOTO, -1), "params.load_size", "take load_size 1386 or less"),
        (sight((400, 300), 2000), "params.load_size", "take load_size 1386 or less"),
        (sight((256, 256), -1, stride=1), "params.stride", "stride 7 fits"),
        (sight(LARGE_PHOTO, -1, stride=1), "params.stride", "take stride 14 and load_size 1386 or less"),
        (sight(COLUMN, -1), "params.load_size", "cut the picture"),
    ],
)
def test_what_costs_too_much_is_refused_with_what_would_fit(asked: Sight, field: str, words: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        checked_flop(asked, LARGE["dinov2_vitl14"], "dinov2_vitl14", CPU)
    (violation,) = caught.value.violations
    assert violation.field == field
    assert words in violation.message
    assert "TFLOP in dinov2_vitl14, at most 25 on this server's CPU (--max-tflop)" in violation.message


def test_the_size_that_a_refusal_names_fits_and_the_next_one_does_not() -> None:
    with pytest.raises(InvalidFields, match="load_size 1386"):
        checked_flop(sight(LARGE_PHOTO, -1), LARGE["dinov2_vitl14"], "m", CPU)
    checked_flop(sight(LARGE_PHOTO, 1386), LARGE["dinov2_vitl14"], "m", CPU)
    with pytest.raises(InvalidFields):
        checked_flop(sight(LARGE_PHOTO, 1387), LARGE["dinov2_vitl14"], "m", CPU)


def test_a_network_counts_its_own_layers(vit_b16: ClipModel, dinov2: DinoModel) -> None:
    assert vit_b16.transformer == Transformer(12, 768, 24 * 768**2)
    assert dinov2.transformer == Transformer(12, 384, 24 * 384**2)
    assert vit_b16.text_transformer == Transformer(12, 512, 24 * 512**2)


def test_a_request_over_the_limit_is_refused_before_its_pixels_are_made(
    engines: Engines, dinov2: DinoModel, vit_b16: ClipModel
) -> None:
    small = replace(engines, options=replace(engines.options, max_tflop=0.01))
    item = models.picture_item(300, 200)
    refused = (
        (EXTRACT_DINO.rpc, DinoExtractFeaturesParams(load_size=400), dinov2, item),
        (EXTRACT_CLIP.rpc, ClipExtractFeaturesParams(load_size=400), vit_b16, item),
        (
            COMPUTE_SIMILARITY.rpc,
            ComputeSimilarityParams(load_size=400),
            vit_b16,
            QueryItem(item.image, query=schema.TextQuery(text=("a",))),
        ),
    )
    for operation, params, model, asked in refused:
        with pytest.raises(InvalidFields, match=r"params\.load_size: 400 makes .* TFLOP"):
            small.prepare(operation, asked, params, model)
    # Only the blocks that are computed count.
    read = DinoExtractFeaturesParams(load_size=224, layer=0)
    assert small.prepare(EXTRACT_DINO.rpc, item, read, dinov2).flop < 0.01 * TERA


def test_steps_of_attention_have_the_bits_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys, values = (torch.randn(2, 1900, 3, 32).transpose(1, 2) for _ in range(3))
    mask = torch.randn(1900, 1900)
    whole = [attention.attended(queries, keys, values, each) for each in (None, mask)]
    for flop in (4 * 1900 * 1900 * 32, 1 << 20):
        monkeypatch.setattr(attention, "STEP_FLOP", 2 * flop)
        parts = [attention.attended(queries, keys, values, each) for each in (None, mask)]
        for part, wanted in zip(parts, whole, strict=True):
            assert torch.equal(part, wanted)
            assert part.stride() == wanted.stride()


def test_steps_of_a_linear_layer_have_the_bits_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = packed(nn.Sequential(nn.Linear(96, 200)).requires_grad_(False), models.OPTIONS)
    values = torch.randn(2, 3000, 96)
    whole = network(values)
    monkeypatch.setattr(interrupt, "STEP_FLOP", 1)
    assert torch.equal(network(values), whole)


class Asked:
    """Says that somebody waits, so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left >= 0


@pytest.mark.parametrize("part", ["attention", "linear"])
def test_a_pass_is_stopped_inside_a_block(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(attention, "STEP_FLOP", 2)
    monkeypatch.setattr(interrupt, "STEP_FLOP", 1)
    tokens = torch.randn(1, 1, 8192, 8)
    layer = packed(nn.Sequential(nn.Linear(8, 8)).requires_grad_(False), models.OPTIONS)
    asked = Asked(3)
    with pytest.raises(Abandoned), torch.inference_mode(), interruptible(asked):
        attention.attended(tokens, tokens, tokens) if part == "attention" else layer(tokens)
    assert asked.left == -1


def test_a_pass_that_runs_in_the_pause_of_another_is_asked_for_itself() -> None:
    layer, seen = nn.Identity(), []

    def pause() -> bool:
        with interruptible(lambda: True, [layer]):
            seen.append(layer(1))
        return False

    with pytest.raises(Abandoned), interruptible(pause, [layer]):
        layer(0)
    assert seen == [1]


def test_the_strongest_components_of_a_large_matrix_come_in_steps() -> None:
    rng = np.random.default_rng(0)
    spread = np.geomspace(1, 1e-3, 1100)
    vectors = torch.from_numpy(rng.standard_normal((1100, 1100)) * spread)
    vectors = vectors - vectors.mean(dim=0)
    found = principal(vectors, 0.0)
    wanted = torch.linalg.svd(vectors, full_matrices=False).Vh[:3].T
    assert torch.allclose((found * wanted).sum(dim=0).abs(), torch.ones(3, dtype=torch.float64), atol=1e-9)
    assert torch.equal(principal(vectors, 0.0), found)
    with pytest.raises(Abandoned), interruptible(Asked(4)):
        principal(vectors, 0.0)


def test_boxes_in_steps_are_suppressed_as_torchvision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featsvc.engines.sam2.generate.MOST_BOXES", 10)
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 60, (3000, 2))
    sizes = rng.integers(0, 30, (3000, 2))
    boxes = torch.tensor(np.hstack([corners, corners + sizes]), dtype=torch.float32)
    scores = torch.tensor(rng.integers(0, 500, 3000) / 500, dtype=torch.float32)
    for threshold in (0.0, 0.5, 0.7, 1.0):
        wanted = batched_nms(boxes, scores, torch.zeros(3000), threshold)
        assert torch.equal(distinct(boxes, scores, threshold), wanted)
    with pytest.raises(Abandoned), interruptible(Asked(4)):
        distinct(boxes, scores, 0.7)


def test_a_column_of_pixels_is_brought_to_the_encoder_without_filling_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    column = models.picture(2, 3000)
    plain = encoder_input(column, 64)
    monkeypatch.setattr("featsvc.engines.sam2.embedding.MOST_PIXELS_BETWEEN", 1)
    assert torch.allclose(encoder_input(column, 64), plain, atol=1e-5)


def test_a_click_on_a_column_of_pixels_is_answered(engines: Engines, demo_sam2: Sam2Model) -> None:
    item = PromptItem(models.encoded(Image.new("RGB", COLUMN, "red")))
    found = models.prompted(engines, item, PredictMasksParams(multimask_output=False), demo_sam2)
    assert (found.height, found.width) == COLUMN[::-1]


def test_a_column_of_pixels_is_no_picture_for_a_global_embedding(
    engines: Engines, demo_clip: ClipModel
) -> None:
    item = models.item_of(Image.new("RGB", COLUMN, "red"))
    with pytest.raises(InvalidFields, match=r"image: 1 x 917490 pixels become \d+ x \d+ .* cut the picture"):
        engines.prepare(ENCODE_IMAGE.rpc, item, EncodeImageParams(), demo_clip)


@pytest.mark.parametrize("load_size", [-1, 1])
def test_axes_too_long_for_their_matrices_are_refused(
    engines: Engines, demo_dino: DinoModel, demo_clip: ClipModel, load_size: int
) -> None:
    item = models.item_of(Image.new("RGB", (1, 100_000), "red"))
    dense = DinoExtractFeaturesParams(load_size=load_size, ret_pca=True, ret_patches=False)
    with pytest.raises(InvalidFields, match=r"params\.ret_patches: a grid of 1 x \d+ cells is too long"):
        engines.prepare(EXTRACT_DINO.rpc, item, dense, demo_dino)
    query = QueryItem(item.image, query=schema.TextQuery(text=("a",), negative_text=("b",)))
    against = ComputeSimilarityParams(load_size=load_size, ret_patches=False)
    with pytest.raises(InvalidFields, match=r"params\.ret_patches"):
        engines.prepare(COMPUTE_SIMILARITY.rpc, query, against, demo_clip)
