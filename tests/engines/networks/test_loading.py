"""Weights files in their publishers' layouts become the right networks; others are refused, and nothing is loaded."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from featsvc.catalog import DinoEntry, demo, entry_of
from featsvc.catalog.entry import WeightFiles
from featsvc.engines.clip import model as clip_model
from featsvc.engines.dino import model as dino_model
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.networks.checkpoint import fill, read_state
from featsvc.engines.registry import Engines
from featsvc.engines.sam2 import model as sam2_model
from featsvc.engines.sam2.model import Sam2Model
from featsvc.errors import NotFound, WeightsMissing
from featsvc.v1.schema import DinoExtractFeaturesParams
from featsvc.work.operations import EXTRACT_DINO
from featsvc.work.options import EngineOptions
from tests.engines import models

State = dict[str, torch.Tensor]


def options(folder: Path) -> EngineOptions:
    return EngineOptions(offline=True, weights_dir=str(folder), max_reply_bytes=1 << 30)


def as_meta(model: DinoModel) -> State:
    """timm's DINOv2 state dict in Meta's published layout."""
    state = dict(model.network.state_dict())
    state["mask_token"] = torch.zeros(1, state["cls_token"].shape[-1])
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        # Any split of the class token and its position will do: timm adds them.
        at_class = torch.randn(1, 1, state["cls_token"].shape[-1], generator=torch.Generator().manual_seed(0))
        state["cls_token"] = state["cls_token"] - at_class
        state["pos_embed"] = torch.cat([at_class, state["pos_embed"]], dim=1)
    return state


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vits14_reg"])
@pytest.mark.parametrize("layout", ["meta", "timm"])
def test_dinov2_files_of_meta_and_of_timm_give_the_same_network(
    engines: Engines, dinov2: DinoModel, dinov2_reg: DinoModel, tmp_path: Path, name: str, layout: str
) -> None:
    model = dinov2_reg if name.endswith("_reg") else dinov2
    published, timms = entry_of(name).weights.file_names
    if layout == "meta":
        torch.save(as_meta(model), tmp_path / published)
    else:
        save_file(dict(model.network.state_dict()), tmp_path / timms)
    loaded = dino_model.load(model.entry, options(tmp_path))
    params = DinoExtractFeaturesParams(stride=7, facet="value")
    item = models.picture_item(70, 42)
    got, wanted = (models.answer(engines, EXTRACT_DINO.rpc, item, params, each) for each in (loaded, model))
    np.testing.assert_allclose(got.features, wanted.features, atol=1e-5)


def test_a_giants_gated_layers_have_metas_names(tmp_path: Path) -> None:
    network = timm.create_model(
        "vit_giant_patch14_dinov2",
        pretrained=False,
        num_classes=0,
        embed_dim=48,
        depth=2,
        num_heads=4,
        img_size=28,
    )
    wanted = network.state_dict()
    published = {
        name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): each for name, each in wanted.items()
    }
    assert any("w12" in name for name in published)
    fill(network, dino_model.converted({**published, "mask_token": torch.zeros(1, 48)}, network), "giant.pth")
    for name, value in network.state_dict().items():
        assert torch.equal(value, wanted[name])


def test_a_dino_file_of_meta_is_loaded_and_its_head_left_out(tmp_path: Path) -> None:
    model = models.random_dino("dino_vits16")
    state = {**model.network.state_dict(), "head.weight": torch.zeros(10, 384), "head.bias": torch.zeros(10)}
    torch.save(state, tmp_path / "dino_deitsmall16_pretrain.pth")
    loaded = dino_model.load(model.entry, options(tmp_path))
    assert torch.equal(loaded.network.pos_embed, model.network.pos_embed)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_an_open_clip_state_dict_is_loaded_in_float32(tmp_path: Path, suffix: str) -> None:
    names = ("tiny_test.safetensors", "tiny_test.pt")
    entry = dataclasses.replace(demo.CLIP, key="tiny/test", weights=WeightFiles(file_names=names))
    torch.manual_seed(5)
    state = {name: value.half().contiguous() for name, value in clip_model.built(entry).state_dict().items()}
    file = tmp_path / f"tiny_test.{suffix}"
    if suffix == "safetensors":
        save_file(state, file)
    else:
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    loaded = clip_model.load(entry, options(tmp_path))
    found = loaded.network.state_dict()
    for name, value in state.items():
        named = name.replace("attn.in_proj_", "attn.qkv.").replace("attn.out_proj.", "attn.proj.")
        # A last block has its three parts singly.
        parts = [named.replace("qkv", part) for part in ("queries", "keys", "values")]
        ours = found[named] if named in found else torch.cat([found[part] for part in parts])
        assert ours.dtype == torch.float32
        assert torch.equal(ours, value.float())


def test_a_sam2_checkpoint_of_meta_is_loaded(sam2_tiny: Sam2Model, tmp_path: Path) -> None:
    torch.save({"model": sam2_tiny.network.state_dict()}, tmp_path / "sam2.1_hiera_tiny.pt")
    loaded = sam2_model.load(sam2_tiny.entry, options(tmp_path))
    assert loaded.keys == ("sam2.1_hiera_tiny",)
    assert loaded.nbytes == sam2_tiny.nbytes > 100_000_000
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, sam2_tiny.network.state_dict()[name])


@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "sam2.1_hiera_small", "sam2.1_hiera_base_plus"])
def test_each_size_of_sam2_is_built_from_its_own_configuration(name: str) -> None:
    entry = entry_of(name)
    count = sum(each.numel() for each in sam2_model.built(entry).parameters())
    assert count * 4 == pytest.approx(entry.nbytes, rel=0.02)


class Intruder:
    """What a pickle with code in it would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("never",))


def small_file(kind: str, path: Path, dinov2: DinoModel) -> None:
    """A bad file for dinov2_vits14."""
    state = dict(dinov2.network.state_dict())
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>Not found</html>")
    elif kind == "code":
        path.write_bytes(pickle.dumps({"model": Intruder()}))
    elif kind == "a saved object":
        torch.save({"model": Intruder()}, path)
    elif kind == "no tensors":
        torch.save({"epoch": 3}, path)
    elif kind == "a list":
        torch.save([torch.zeros(3)], path)
    elif kind == "a missing tensor":
        del state["norm.weight"]
        torch.save(state, path)
    elif kind == "another grid":
        torch.save({**state, "pos_embed": state["pos_embed"][:, :257]}, path)
    elif kind == "another patch":
        torch.save({**state, "patch_embed.proj.weight": torch.zeros(384, 3, 16, 16)}, path)
    elif kind == "cut off":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:1_000_000])


COMPLAINTS = {
    "empty": "cannot be read",
    "text": "cannot be read",
    "code": "cannot be read",
    "a saved object": "cannot be read",
    "cut off": "cannot be read",
    "no tensors": "other than a state dict",
    "a list": "other than a state dict",
    "a missing tensor": "lacks 1 tensors, 'norm.weight'",
    "another grid": "in another shape 1 tensors, 'pos_embed'",
    "another patch": "in another shape 1 tensors, 'patch_embed",
}


# torch wonders about the protocol of a pickle before it refuses what is in it.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("kind", list(COMPLAINTS))
def test_a_bad_file_is_refused_by_its_name(
    dinov2: DinoModel, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "dinov2_vits14_pretrain.pth"
    small_file(kind, tmp_path / name, dinov2)
    with pytest.raises(WeightsMissing, match=COMPLAINTS[kind]) as caught:
        models.engines(weights_dir=str(tmp_path)).load("dinov2_vits14")
    assert caught.value.message.startswith(name)
    assert str(tmp_path) not in caught.value.message
    assert "never" not in capsys.readouterr().out


def test_the_file_of_a_larger_model_is_refused(dinov2: DinoModel, tmp_path: Path) -> None:
    torch.save(dict(dinov2.network.state_dict()), tmp_path / "dinov2_vitb14_pretrain.pth")
    with pytest.raises(WeightsMissing, match="does not fit"):
        models.engines(weights_dir=str(tmp_path)).load("dinov2_vitb14")


def test_a_model_without_weights_says_what_would_mend_it(engines: Engines, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"dinov2_vitl14_pretrain\.pth"):
        models.engines(weights_dir=str(tmp_path)).load("dinov2_vitl14")
    with pytest.raises(NotFound, match="close ones: demo-dino"):
        engines.load("demo-dyno")


def test_demo_models_load_and_name_themselves(engines: Engines) -> None:
    loaded = [engines.load(name) for name in ("demo-clip", "demo-dino", "demo-sam2")]
    assert [each.keys for each in loaded] == [
        ("clip_demo-clip_demo",),
        ("dino_demo-dino_14",),
        ("sam2_demo-sam2",),
    ]
    for each in loaded:
        assert 1_000_000 < each.nbytes < 20_000_000


def test_an_entry_that_is_no_vit_is_refused() -> None:
    entry = DinoEntry(
        key="resnet",
        family="dino",
        library="timm",
        architecture="resnet10t",
        weights=WeightFiles(file_names=("x",)),
        licence="",
        nbytes=0,
        description="",
    )
    with pytest.raises(Exception, match="no standard ViT"):
        dino_model.built(entry)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="Linux tells how much memory is a process's own"
)
def test_a_file_is_read_as_pages_that_all_workers_share(tmp_path: Path) -> None:
    def own_bytes() -> int:
        (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in each)
        return int(line.split()[1]) << 10

    nbytes = 64 << 20
    torch.save({"weights": torch.zeros(nbytes // 4)}, tmp_path / "new.pt")
    before = own_bytes()
    state = read_state(tmp_path / "new.pt")
    assert float(state["weights"].sum()) == 0
    assert own_bytes() - before < nbytes / 4


def test_a_file_of_an_old_torch_is_read_too(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_state(tmp_path / "old.pt")["weights"].tolist() == [1, 1, 1]
