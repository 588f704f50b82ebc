"""The shipped demo-clip and demo-dino know what they were trained for, on scenes they never saw."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from featsvc.demo.clip import model as clip_model
from featsvc.demo.clip.figures import ClipFigures, evaluate_clip
from featsvc.demo.clip.texts import PAIRS, text_features
from featsvc.demo.clip.vocabulary import WORDS, write_merges
from featsvc.demo.dino import model as dino_model
from featsvc.demo.dino.figures import DinoFigures, area_under_curve, evaluate_dino
from featsvc.demo.drawing.scenes import HELD_OUT_SEED
from featsvc.demo.training.checkpoint import CONFIGS, WEIGHTS

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def clip_figures() -> ClipFigures:
    torch.set_num_threads(1)
    return evaluate_clip(clip_model.load(), HELD_OUT_SEED, scenes=80, retrieval=100)


@pytest.fixture(scope="module")
def dino_figures() -> DinoFigures:
    torch.set_num_threads(1)
    return evaluate_dino(dino_model.load(), HELD_OUT_SEED, scenes=25)


def test_demo_clip_finds_a_coloured_shape(clip_figures: ClipFigures) -> None:
    assert clip_figures.coloured_shape >= 0.95


def test_demo_clip_tells_shapes_of_one_colour_apart(clip_figures: ClipFigures) -> None:
    assert clip_figures.coloured_shape_among_its_colour >= 0.88


def test_demo_clip_finds_a_colour(clip_figures: ClipFigures) -> None:
    assert clip_figures.colour >= 0.97


def test_demo_clip_matches_captions_and_pictures(clip_figures: ClipFigures) -> None:
    assert clip_figures.caption_retrieval >= 0.85


def test_demo_dino_tells_objects_apart(dino_figures: DinoFigures) -> None:
    assert dino_figures.trained >= 0.96


def test_demo_dino_beats_random_weights_and_mean_colour(dino_figures: DinoFigures) -> None:
    assert dino_figures.trained >= max(dino_figures.random_weights, dino_figures.mean_rgb) + 0.1


def test_demo_dino_knows_more_than_where_patches_are(dino_figures: DinoFigures) -> None:
    assert dino_figures.trained > dino_figures.position


def test_the_area_under_the_curve_is_that_of_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    alike, same = rng.normal(size=60).round(1).astype(np.float32), rng.random(60) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in alike[same] for b in alike[~same]]
    assert area_under_curve(alike, same) == pytest.approx(np.mean(pairs))


def test_all_weights_together_stay_under_12_megabytes() -> None:
    sizes = {path.name: path.stat().st_size for path in WEIGHTS.glob("*.safetensors")}
    assert {"demo-clip.safetensors", "demo-dino.safetensors"} <= set(sizes)
    assert sum(sizes.values()) <= 12 * MEGABYTE
    assert sizes["demo-clip.safetensors"] <= 4 * MEGABYTE
    assert sizes["demo-dino.safetensors"] <= 3 * MEGABYTE


def test_the_merges_file_is_what_the_vocabulary_writes(tmp_path: Path) -> None:
    write_merges(tmp_path / "merges.gz")
    # How it is packed hangs on Python and its zlib.
    written, shipped = (
        gzip.decompress(path.read_bytes()) for path in (tmp_path / "merges.gz", clip_model.MERGES)
    )
    assert written == shipped
    assert clip_model.MERGES.parent == CONFIGS


def test_the_tokenizer_splits_the_known_words_as_clip_does() -> None:
    ours, clips = clip_model.tokenizer(), open_clip.tokenizer.SimpleTokenizer()
    for word in WORDS:
        pieces = [[each.decoder[token] for token in each.encode(word)] for each in (ours, clips)]
        assert pieces[0] == pieces[1]


def test_every_text_of_the_training_fits_the_context() -> None:
    longest = ", ".join(f"a {colour} {shape}" for colour, shape in PAIRS if colour == "cyan")
    assert (
        len(clip_model.tokenizer().encode(longest.replace(", a cyan cross", " and a cyan cross"))) + 2 <= 32
    )


@torch.no_grad()
def test_texts_cut_to_their_length_give_open_clips_own_features() -> None:
    model = clip_model.load()
    tokens = clip_model.tokenizer()(["a red circle", "a blue star and a green ring"])
    expected = model.encode_text(tokens, normalize=True)
    assert torch.allclose(text_features(model, tokens), expected, atol=1e-5)


@torch.no_grad()
def test_the_global_path_gives_open_clips_own_features() -> None:
    model = clip_model.load()
    pictures = torch.randn(2, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    ours = clip_model.pooled(model.visual, clip_model.trunk(model.visual, pictures))
    assert torch.allclose(ours, model.encode_image(pictures, normalize=True), atol=1e-5)


@torch.no_grad()
def test_dino_tokens_are_those_before_timms_final_norm() -> None:
    model = dino_model.load()
    pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    ours = model.norm(dino_model.patch_tokens(model, pictures))
    assert torch.allclose(ours, model.forward_features(pictures)[:, 1:], atol=1e-4)
