"""Names in requests mean models of the catalog, and nothing else: never a path."""

from __future__ import annotations

import subprocess
import sys

import pytest

from featsvc.catalog import catalog, entry_of, resolve_clip, resolve_dino, resolve_sam2
from featsvc.catalog.choice import default_of, entry_for, naming
from featsvc.errors import InvalidArgument, NotFound
from featsvc.v1 import schema


def test_the_catalog_holds_what_the_design_lists() -> None:
    keys = set(catalog())
    assert {f"dino_vit{size}{patch}" for size in "sb" for patch in (8, 16)} <= keys
    assert {f"dinov2_vit{size}14{form}" for size in "sblg" for form in ("", "_reg")} <= keys
    assert {f"vit_{size}_patch{patch}_224" for size in ("small", "base") for patch in (8, 16)} <= keys
    sizes = ("tiny", "small", "base_plus", "large")
    assert {f"{version}_hiera_{size}" for version in ("sam2", "sam2.1") for size in sizes} <= keys
    assert {"demo-clip", "demo-dino", "demo-sam2", "ViT-L-14-336-quickgelu/openai"} <= keys


def test_every_entry_says_where_its_weights_come_from() -> None:
    for key, entry in catalog().items():
        assert entry.key == key
        assert entry.weights.file_names, key
        assert entry.weights.hub or entry.weights.url or entry.weights.bundled, key
        assert entry.nbytes > 1_000_000, key
        assert entry.licence, key
        assert entry.description, key


def test_one_file_name_means_one_file() -> None:
    sources = {(name, entry.weights.hub) for entry in catalog().values() for name in entry.weights.file_names}
    names = [name for name, _ in sources]
    assert len(names) == len(set(names))


def test_importing_the_catalog_needs_no_torch() -> None:
    program = (
        "import sys, featsvc.catalog as c; c.resolve_clip('ViT-B-32'); "
        "sys.exit(bool({'torch', 'open_clip', 'timm', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "tag", "key"),
    [
        ("ViT-L-14-336-quickgelu", "openai", "ViT-L-14-336-quickgelu/openai"),
        ("ViT-B/32", "OpenAI", "ViT-B-32/openai"),
        ("ViT-B-16", "datacomp-xl-s13b-b90k", "ViT-B-16/datacomp_xl_s13b_b90k"),
        ("ViT-L-14", "", "ViT-L-14/openai"),
        ("ViT-H-14", "", "ViT-H-14/laion2b_s32b_b79k"),
        ("demo-clip", "", "demo-clip"),
        ("demo-clip", "openai", "demo-clip"),
    ],
)
def test_clip_names_are_those_of_open_clip(name: str, tag: str, key: str) -> None:
    assert resolve_clip(name, tag).key == key


@pytest.mark.parametrize(
    ("name", "tag", "complaint"),
    [
        ("ViT-L-14-33", "openai", "close ones: ViT-L-14-336"),
        ("ViT-B-16", "opena", "it has openai, laion400m_e31"),
        ("RN50", "openai", "ResNet, not a ViT"),
        ("ViT-SO400M-14-SigLIP", "webli", "one of timm"),
        ("coca_ViT-B-32", "laion2b_s13b_b90k", "pools by attention"),
        ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k", "text network is one of the transformers package"),
        ("ViT-H-14-CLIPA", "datacomp1b", "tokenizer needs the transformers package"),
        ("ViT-H-14-worldwide", "", "tokenizer needs the transformers package"),
        ("hf-hub:someone/something", "", "no CLIP model"),
        ("local-dir:/etc", "", "no CLIP model"),
        ("", "", "no CLIP model"),
    ],
)
def test_other_clip_names_are_not_found_and_say_why(name: str, tag: str, complaint: str) -> None:
    with pytest.raises(NotFound, match=complaint):
        resolve_clip(name, tag)


def test_quick_gelu_is_what_the_weights_were_trained_with() -> None:
    assert resolve_clip("ViT-B-16-quickgelu", "openai").quick_gelu
    assert resolve_clip("ViT-B-16", "openai").quick_gelu
    assert not resolve_clip("ViT-B-16", "laion2b_s34b_b88k").quick_gelu


def test_a_dino_name_is_found_and_a_misspelt_one_gets_suggestions() -> None:
    assert resolve_dino("dinov2_vitl14_reg").position == "dinov2_reg"
    assert resolve_dino("dino_vits8").patch_size == 8
    with pytest.raises(NotFound, match="close ones: dinov2_vits14"):
        resolve_dino("dinov2_vits15")
    for other in ("demo-clip", "sam2_hiera_tiny", ""):
        with pytest.raises(NotFound):
            resolve_dino(other)


SAME = [
    ("configs/sam2.1/sam2.1_hiera_l.yaml", "checkpoints/sam2.1_hiera_large.pt", "sam2.1_hiera_large"),
    ("sam2.1_hiera_l", "", "sam2.1_hiera_large"),
    ("", "sam2.1_hiera_large.pt", "sam2.1_hiera_large"),
    ("", "/anywhere/at/all/SAM2.1_hiera_large.PT", "sam2.1_hiera_large"),
    ("configs\\sam2\\sam2_hiera_b+.yaml", "sam2_hiera_base_plus.pt", "sam2_hiera_base_plus"),
    ("sam2_hiera_t.yaml", "facebook/sam2-hiera-tiny", "sam2_hiera_tiny"),
    ("", "sam2.1_hiera_small", "sam2.1_hiera_small"),
    ("demo-sam2", "", "demo-sam2"),
]


@pytest.mark.parametrize(("config", "checkpoint", "key"), SAME)
def test_sam2_names_mean_the_same_model_in_any_form(config: str, checkpoint: str, key: str) -> None:
    assert resolve_sam2(config, checkpoint) is catalog()[key]


@pytest.mark.parametrize(
    ("config", "checkpoint"),
    [
        ("sam2.1_hiera_t.yaml", "sam2.1_hiera_large.pt"),
        ("sam2_hiera_l.yaml", "sam2.1_hiera_large.pt"),
        ("demo-sam2", "sam2_hiera_tiny.pt"),
    ],
)
def test_a_pair_of_two_models_is_contradictory_and_names_both_fields(config: str, checkpoint: str) -> None:
    with pytest.raises(InvalidArgument, match=r"model_cfg .* checkpoint_path"):
        resolve_sam2(config, checkpoint)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "evil.pt", "configs/", "sam2.1_hiera_xl.yaml", "x.yaml/.."]
)
def test_an_unknown_sam2_name_is_not_found(name: str) -> None:
    for pair in ((name, ""), ("", name), ("sam2.1_hiera_l", name)):
        with pytest.raises(NotFound):
            resolve_sam2(*pair)


def test_no_names_at_all_are_not_found() -> None:
    with pytest.raises(NotFound):
        resolve_sam2()
    with pytest.raises(NotFound, match="close ones: demo-clip"):
        entry_of("demo-clop")


def test_health_keys_are_as_documented() -> None:
    keys = {key: entry.health_key for key, entry in catalog().items()}
    assert keys["ViT-L-14-336-quickgelu/openai"] == "clip_ViT-L-14-336-quickgelu_openai"
    assert keys["dinov2_vitl14"] == "dino_dinov2_vitl14_14"
    assert keys["sam2_hiera_large"] == "sam2_hiera_large"
    assert keys["sam2.1_hiera_large"] == "sam2.1_hiera_large"


def test_the_options_that_name_a_model_mean_that_model() -> None:
    params = {
        "clip": schema.EncodeTextParams,
        "dino": schema.DinoExtractFeaturesParams,
        "sam2": schema.EmbedImageParams,
    }
    for entry in catalog().values():
        assert entry_for(params[entry.family](**naming(entry)), "default") is entry


@pytest.mark.parametrize("family", ["clip", "dino", "sam2"])
def test_a_request_that_names_no_model_means_the_default_of_the_profile(family: str) -> None:
    assert default_of(family, "demo").key == f"demo-{family}"
    assert (
        default_of(family, "default").key
        == {
            "clip": "ViT-L-14-336-quickgelu/openai",
            "dino": "dinov2_vitl14",
            "sam2": "sam2.1_hiera_large",
        }[family]
    )
