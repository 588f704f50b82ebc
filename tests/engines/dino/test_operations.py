"""DINO features: facets, layers, strides, positions and log-binning against second computations."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from featsvc.engines.dino.features import log_binned
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.dino.position import positioned
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.v1.schema import DinoExtractFeaturesParams
from featsvc.work.operations import EXTRACT_DINO
from featsvc.work.results import Features
from tests.engines import models

OPERATION = EXTRACT_DINO.rpc
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def extract(
    engines: Engines, model: DinoModel, size: tuple[int, int] = (84, 56), **options: object
) -> Features:
    params = DinoExtractFeaturesParams(**options)
    result = models.answer(engines, OPERATION, models.picture_item(*size), params, model)
    assert isinstance(result, Features)
    return result


def pixels(size: tuple[int, int], patch: int) -> torch.Tensor:
    """The normalised picture, padded with zeros, 1 x 3 x H x W."""
    image = (np.asarray(models.picture(*size)) / 255.0 - MEAN) / STD
    image = np.pad(image, ((0, -image.shape[0] % patch), (0, -image.shape[1] % patch), (0, 0)))
    return torch.from_numpy(image).float().permute(2, 0, 1)[None]


def meta_positions(model: DinoModel, rows: int, columns: int) -> torch.Tensor:
    """`interpolate_pos_encoding` of Meta's published code, for patches only, rows * columns x D.

    facebookresearch/dinov2, models/vision_transformer.py: the plain models are built with interpolate_offset 0.1 and
    interpolate_antialias False, those with registers with 0.0 and True. facebookresearch/dino has the 0.1 in it.
    """
    state = model.network.state_dict()
    table = state["pos_embed"][0]
    side = int(len(table) ** 0.5)
    table = table[len(table) - side * side :]
    if rows == columns == side:
        return table
    grid = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if model.entry.key.endswith("_reg"):
        grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
    else:
        factors = (float(rows + 0.1) / side, float(columns + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic", antialias=False)
    return grid.permute(0, 2, 3, 1).reshape(rows * columns, -1)


timms = functools.cache(models.timm_network)
"""A network as timm runs it, with the weights of the fixture of that name."""


def plain_descriptors(
    model: DinoModel, size: tuple[int, int], stride: int, read: tuple[str, int]
) -> np.ndarray:
    """Features with nothing but loops over patches, blocks and heads, h x w x D."""
    facet, layer = read
    network, patch = timms(model.entry.key), model.entry.patch_size
    image = pixels(size, patch)[0]
    rows, columns = (1 + (side - patch) // stride for side in image.shape[1:])
    kernel = network.patch_embed.proj
    patches = [
        image[:, y * stride : y * stride + patch, x * stride : x * stride + patch].flatten()
        for y in range(rows)
        for x in range(columns)
    ]
    tokens = torch.stack(patches) @ kernel.weight.flatten(1).T + kernel.bias
    tokens = tokens + meta_positions(model, rows, columns)
    first = network.cls_token[0]
    if not network.no_embed_class:
        first = first + network.pos_embed[0, :1]
    prefix = [first] if network.reg_token is None else [first, network.reg_token[0]]
    x = torch.cat([*prefix, tokens])
    for block in network.blocks[:layer]:
        x = block(x[None])[0]
    block = network.blocks[layer]
    if facet == "token":
        found = block(x[None])[0]
    else:
        attention = block.attn
        which = ("query", "key", "value").index(facet)
        width = attention.num_heads * attention.head_dim
        projected = (block.norm1(x) @ attention.qkv.weight.T + attention.qkv.bias)[:, which * width :][
            :, :width
        ]
        found = torch.empty_like(projected)
        for head in range(attention.num_heads):
            for dim in range(attention.head_dim):
                found[:, dim * attention.num_heads + head] = projected[:, head * attention.head_dim + dim]
    return found[len(x) - rows * columns :].reshape(rows, columns, -1).numpy()


@pytest.mark.parametrize("stride", [14, 7])
@pytest.mark.parametrize("layer", [0, 5, -1])
@pytest.mark.parametrize("facet", ["token", "key", "query", "value"])
def test_features_equal_the_plain_computation(
    engines: Engines, dinov2: DinoModel, facet: str, layer: int, stride: int
) -> None:
    got = extract(engines, dinov2, facet=facet, layer=layer, stride=stride)
    wanted = plain_descriptors(dinov2, (84, 56), stride, (facet, layer % 12))
    assert got.features.shape == wanted.shape == ((4, 6, 384) if stride == 14 else (7, 11, 384))
    np.testing.assert_allclose(got.features, wanted, atol=1e-4)
    assert (got.geometry.grid_height, got.geometry.grid_width) == wanted.shape[:2]
    assert wanted.std() > 0.01


@pytest.mark.parametrize("size", [(84, 56), (90, 70)])
@pytest.mark.parametrize("facet", ["token", "key"])
def test_features_of_register_models_equal_the_plain_computation(
    engines: Engines, dinov2_reg: DinoModel, facet: str, size: tuple[int, int]
) -> None:
    got = extract(engines, dinov2_reg, size, facet=facet, stride=7)
    np.testing.assert_allclose(got.features, plain_descriptors(dinov2_reg, size, 7, (facet, 11)), atol=1e-4)


@pytest.mark.parametrize(("name", "layers"), [("dino_vits16", 12), ("vit_small_patch16_224", 12)])
def test_networks_of_224_pixels_take_other_sizes(engines: Engines, name: str, layers: int) -> None:
    model = models.random_dino(name)
    got = extract(engines, model, (80, 64), stride=8, layer=2)
    assert got.features.shape == (7, 9, 384)
    assert model.layers == layers
    if name.startswith("dino"):
        np.testing.assert_allclose(
            got.features, plain_descriptors(model, (80, 64), 8, ("token", 2)), atol=1e-4
        )


@pytest.mark.parametrize("grid", [(4, 6), (37, 37), (37, 36), (50, 41)])
@pytest.mark.parametrize("registers", [False, True])
def test_positions_equal_metas_formula(
    dinov2: DinoModel, dinov2_reg: DinoModel, grid: tuple[int, int], registers: bool
) -> None:
    model = dinov2_reg if registers else dinov2
    nothing = torch.zeros(1, 384, *grid)
    got = positioned(model.network, nothing, model.entry.position)
    prefix = 5 if registers else 1
    assert got.shape == (1, prefix + grid[0] * grid[1], 384)
    torch.testing.assert_close(got[0, prefix:], meta_positions(model, *grid), rtol=0, atol=1e-6)


def test_positions_of_plain_networks_are_those_of_timm() -> None:
    model = models.random_dino("vit_small_patch16_224")
    dynamic = models.random_dino("vit_small_patch16_224").network
    dynamic.set_input_size((80, 48))
    got = positioned(model.network, torch.zeros(1, 384, 5, 3), model.entry.position)
    torch.testing.assert_close(got[0, 1:], dynamic.pos_embed[0, 1:], rtol=0, atol=1e-6)


def looped_bins(features: np.ndarray) -> np.ndarray:
    """`_log_bin` of dino-vit-features with its loops, h x w x 17D."""
    height, width, channels = features.shape
    averaged = np.zeros_like(features)
    for y in range(height):
        for x in range(width):
            window = features[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            averaged[y, x] = window.reshape(-1, channels).mean(axis=0)
    bins = np.zeros((height, width, 17, channels), np.float32)
    for y in range(height):
        for x in range(width):
            cell = 0
            for ring, source in enumerate((features, averaged)):
                step = 3**ring
                for i in (y - step, y, y + step):
                    for j in (x - step, x, x + step):
                        if ring and i == y and j == x:
                            continue
                        bins[y, x, cell] = source[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
                        cell += 1
    return bins.reshape(height, width, -1)


@pytest.mark.parametrize("size", [(9, 7), (3, 3), (1, 5), (1, 1)])
def test_log_bins_equal_the_loops(size: tuple[int, int]) -> None:
    features = torch.randn(*size, 6, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(log_binned(features).numpy(), looped_bins(features.numpy()), atol=1e-6)


@pytest.mark.parametrize("facet", ["token", "key"])
def test_bins_of_a_request_are_those_of_its_features(engines: Engines, dinov2: DinoModel, facet: str) -> None:
    plain = extract(engines, dinov2, facet=facet, layer=3, stride=7).features
    binned = extract(engines, dinov2, facet=facet, layer=3, stride=7, bin=True).features
    assert binned.shape == (7, 11, 17 * 384)
    np.testing.assert_allclose(binned, looped_bins(plain), atol=1e-5)


def test_bins_work_with_components_and_pixels(engines: Engines, demo_dino: DinoModel) -> None:
    got = extract(engines, demo_dino, bin=True, ret_pca=True, ret_patches=False, tensor_format="CHW")
    assert got.features.shape == (3, 56, 84)
    assert got.is_pca
    assert (got.features.min(), got.features.max()) == (0, 1)


@pytest.mark.parametrize("layer", [-7, 6])
def test_a_layer_that_is_not_there_names_the_range_of_the_model(
    engines: Engines, demo_dino: DinoModel, layer: int
) -> None:
    extract(engines, demo_dino, layer=-6)
    extract(engines, demo_dino, layer=5)
    with pytest.raises(InvalidFields, match="-6 to 5") as caught:
        extract(engines, demo_dino, layer=layer)
    assert caught.value.violations[0].field == "params.layer"


@pytest.mark.parametrize("stride", [3, 28])
def test_a_stride_that_does_not_divide_the_patch_names_those_that_do(
    engines: Engines, demo_dino: DinoModel, stride: int
) -> None:
    with pytest.raises(InvalidFields, match="1, 2, 7, 14 do") as caught:
        extract(engines, demo_dino, stride=stride)
    assert caught.value.violations[0].field == "params.stride"


def test_layers_count_from_the_end_too(engines: Engines, demo_dino: DinoModel) -> None:
    np.testing.assert_array_equal(
        extract(engines, demo_dino, layer=-2).features, extract(engines, demo_dino, layer=4).features
    )


def test_interpolation_modes_differ(engines: Engines, demo_dino: DinoModel) -> None:
    results = [
        extract(engines, demo_dino, ret_patches=False, interpolation_mode=mode).features.tobytes()
        for mode in ("bilinear", "bicubic", "nearest")
    ]
    assert len(set(results)) == 3


def test_a_picture_smaller_than_a_patch_is_padded(engines: Engines, demo_dino: DinoModel) -> None:
    got = extract(engines, demo_dino, (5, 3))
    assert got.features.shape == (1, 1, 128)
    assert (got.geometry.pad_right, got.geometry.pad_bottom) == (9, 11)


def test_a_grid_of_too_many_cells_is_refused(demo_dino: DinoModel) -> None:
    few = models.engines(max_cells=24)
    extract(few, demo_dino)
    with pytest.raises(InvalidFields, match="77 cells, at most 24") as caught:
        extract(few, demo_dino, stride=7, ret_pca=True)
    assert caught.value.violations[0].field == "params.stride"


def test_a_finer_stride_costs_more(engines: Engines, demo_dino: DinoModel) -> None:
    coarse, fine = (
        engines.pixels(
            engines.prepare(
                OPERATION, models.picture_item(56, 28), DinoExtractFeaturesParams(stride=stride), demo_dino
            )
        )
        for stride in (None, 7)
    )
    assert (coarse, fine) == (56 * 28, 4 * 56 * 28)


def test_a_reply_over_the_limit_counts_the_bins(demo_dino: DinoModel) -> None:
    needed = 4 * 6 * 17 * 128 * 4
    extract(models.engines(max_reply_bytes=needed), demo_dino, bin=True)
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes"):
        extract(models.engines(max_reply_bytes=needed - 1), demo_dino, bin=True)
