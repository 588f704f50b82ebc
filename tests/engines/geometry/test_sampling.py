"""Features at points and in windows: where they are taken, for any stride, resizing, crop and padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.geometry.sampling import regridded, sampled, window
from featsvc.engines.geometry.sizing import Fit, Grid, geometry_of
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    DinoExtractFeaturesParams,
    PaddingMode,
    Position,
    Window,
)
from featsvc.work.operations import EXTRACT_CLIP, EXTRACT_DINO
from featsvc.work.results import Features, Geometry
from tests.engines import models

CLIP, DINO = EXTRACT_CLIP.rpc, EXTRACT_DINO.rpc
CASES = [
    ((75, 50), -1, False, Grid(16, 16)),
    ((75, 50), 96, False, Grid(16, 8)),
    ((300, 200), 64, False, Grid(14, 14)),
    ((90, 200), 97, True, Grid(14, 7)),
    ((64, 64), 128, True, Grid(8, 2)),
]


def geometry(size: tuple[int, int], load_size: int, crop: bool, grid: Grid) -> Geometry:
    return geometry_of(size, Fit(load_size, crop, PaddingMode.CONSTANT), grid)


def inner_points(given: Geometry, count: int = 50) -> list[Position]:
    """Positions in what the network sees, half a patch from its borders, so that no border is in the way."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(count):
        u = rng.uniform(given.patch_size / 2, given.resized_width - given.patch_size)
        v = rng.uniform(given.patch_size / 2, given.resized_height - given.patch_size)
        x = (u + given.crop_left + 0.5) * given.original_width / given.uncropped_width - 0.5
        y = (v + given.crop_top + 0.5) * given.original_height / given.uncropped_height - 0.5
        found.append(Position(x, y))
    return found


def averages(given: Geometry, image: Tensor) -> Tensor:
    """Mean of the pixels under each patch, h x w x C, of a picture C x H x W that needed no resizing."""
    right, bottom = given.pad_right, given.pad_bottom
    padded = F.pad(image[None].double(), (0, right, 0, bottom), mode="replicate")
    return F.avg_pool2d(padded, given.patch_size, given.stride)[0].permute(1, 2, 0).float()


@pytest.mark.parametrize("case", CASES)
def test_a_feature_that_is_the_position_is_sampled_as_the_position(
    case: tuple[tuple[int, int], int, bool, Grid],
) -> None:
    given = geometry(*case)
    # What each cell says is where its centre lies on the picture as sent, worked out pixel by pixel.
    width, height = given.original_width, given.original_height
    columns = (np.arange(given.uncropped_width) + 0.5) * width / given.uncropped_width - 0.5
    rows = (np.arange(given.uncropped_height) + 0.5) * height / given.uncropped_height - 0.5
    seen_columns = extended(columns[given.crop_left :][: given.resized_width], given.pad_right)
    seen_rows = extended(rows[given.crop_top :][: given.resized_height], given.pad_bottom)
    starts = range(0, given.grid_width * given.stride, given.stride)
    x = [seen_columns[start : start + given.patch_size].mean() for start in starts]
    starts = range(0, given.grid_height * given.stride, given.stride)
    y = [seen_rows[start : start + given.patch_size].mean() for start in starts]
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1)).float()
    assert grid.shape == (given.grid_height, given.grid_width, 2)
    points = inner_points(given)
    np.testing.assert_allclose(sampled(grid, points, given).numpy(), np.array(points), atol=1e-3)


def extended(line: np.ndarray, count: int) -> np.ndarray:
    """A line of pixel positions that goes on as it is."""
    step = line[1] - line[0]
    return np.concatenate([line, line[-1] + step * np.arange(1, count + 1)])


@pytest.mark.parametrize("case", CASES)
def test_sampling_is_that_of_grid_sample(case: tuple[tuple[int, int], int, bool, Grid]) -> None:
    given = geometry(*case)
    torch.manual_seed(1)
    features = torch.randn(given.grid_height, given.grid_width, 5)
    points = inner_points(given)
    corner = Position(*(each - 0.0 for each in cornered(given)))
    points = [*points, corner]
    u, v = (torch.tensor(axis, dtype=torch.float64) for axis in zip(*points, strict=True))
    u = (u + 0.5) * given.uncropped_width / given.original_width - given.crop_left
    v = (v + 0.5) * given.uncropped_height / given.original_height - given.crop_top
    # grid_sample takes -1 and 1 for the outer edges of the first and last cell, a stride wide around its centre.
    first = (given.patch_size - given.stride) / 2
    across = 2 * (u - first) / (given.grid_width * given.stride) - 1
    down = 2 * (v - first) / (given.grid_height * given.stride) - 1
    wanted = F.grid_sample(
        features.permute(2, 0, 1)[None].double(),
        torch.stack([across, down], dim=-1)[None, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[0, :, 0].T
    np.testing.assert_allclose(sampled(features, points, given).numpy(), wanted.numpy(), atol=1e-5)


def cornered(given: Geometry) -> tuple[float, float]:
    """The position of the first pixel that the network sees."""
    return (
        max(0.0, (given.crop_left + 0.5) * given.original_width / given.uncropped_width - 0.5),
        max(0.0, (given.crop_top + 0.5) * given.original_height / given.uncropped_height - 0.5),
    )


@pytest.mark.parametrize("case", CASES)
def test_a_window_has_the_cells_that_see_a_pixel_of_it(case: tuple[tuple[int, int], int, bool, Grid]) -> None:
    given = geometry(*case)
    rng = np.random.default_rng(2)
    for _ in range(40):
        x0, x1 = sorted(rng.uniform(0, given.original_width, 2))
        y0, y1 = sorted(rng.uniform(0, given.original_height, 2))
        region = Window(x0, y0, x1, y1)
        wanted = overlapping(given, region)
        if not wanted[0] or not wanted[1]:
            with pytest.raises(InvalidFields, match=r"params\.region: lies in what center_crop cuts off"):
                window(region, given)
            continue
        rows, columns = window(region, given)
        assert (list(range(rows.start, rows.stop)), list(range(columns.start, columns.stop))) == wanted


def overlapping(given: Geometry, region: Window) -> tuple[list[int], list[int]]:
    """Rows and columns, cell by cell."""
    x = [
        edge * given.uncropped_width / given.original_width - given.crop_left
        for edge in (region.x0, region.x1)
    ]
    y = [
        edge * given.uncropped_height / given.original_height - given.crop_top
        for edge in (region.y0, region.y1)
    ]

    def cells(count: int, low: float, high: float) -> list[int]:
        starts = [index * given.stride for index in range(count)]
        return [index for index, at in enumerate(starts) if at < high and at + given.patch_size > low]

    return cells(given.grid_height, *y), cells(given.grid_width, *x)


def test_a_window_between_two_patches_takes_neither_neighbour() -> None:
    given = geometry((96, 64), -1, False, Grid(16, 16))
    assert window(Window(16, 16, 32, 48), given) == (slice(1, 3), slice(1, 2))
    assert window(Window(0, 0, 96, 64), given) == (slice(0, 4), slice(0, 6))
    assert window(Window(15.5, 63.5, 16.5, 64), given) == (slice(3, 4), slice(0, 2))


def clip(engines: Engines, model: ClipModel, **options: object) -> Features:
    params = ClipExtractFeaturesParams(**options)
    found = models.answer(engines, CLIP, models.picture_item(100, 70), params, model)
    assert isinstance(found, Features)
    return found


def dino(engines: Engines, model: DinoModel, **options: object) -> Features:
    params = DinoExtractFeaturesParams(**options)
    found = models.answer(engines, DINO, models.picture_item(100, 70), params, model)
    assert isinstance(found, Features)
    return found


@pytest.mark.parametrize("order", ["HWC", "CHW"])
def test_a_region_is_that_part_of_the_grid(engines: Engines, demo_clip: ClipModel, order: str) -> None:
    whole = clip(engines, demo_clip, load_size=140)
    part = clip(engines, demo_clip, load_size=140, region=(20, 10, 50, 40), tensor_format=order)
    rows, columns = slice(1, 5), slice(2, 7)
    wanted = whole.features[rows, columns]
    assert part.features.tobytes() == (wanted if order == "HWC" else wanted.transpose(2, 0, 1)).tobytes()
    assert (part.geometry.first_row, part.geometry.first_column) == (1, 2)
    assert (part.geometry.grid_height, part.geometry.grid_width) == whole.features.shape[:2] == (9, 13)


@pytest.mark.parametrize("options", [{}, {"bin": True}, {"stride": 7, "facet": "key"}])
def test_points_at_the_centres_of_patches_have_the_features_of_those(
    engines: Engines, demo_dino: DinoModel, options: dict[str, object]
) -> None:
    whole = dino(engines, demo_dino, load_size=-1, **options)
    stride = whole.geometry.stride
    cells = [(0, 0), (1, 2), (3, 4)]
    points = tuple((column * stride + 6.5, row * stride + 6.5) for row, column in cells)
    found = dino(engines, demo_dino, load_size=-1, points=points, **options, tensor_format="CHW")
    assert found.features.shape == (3, whole.features.shape[2])
    wanted = np.stack([whole.features[cell] for cell in cells])
    np.testing.assert_allclose(found.features, wanted, atol=1e-5)
    middle = dino(engines, demo_dino, load_size=-1, points=((3 * stride / 2 + 6.5, 6.5),), **options)
    halves = (whole.features[0, 1] + whole.features[0, 2]) / 2
    np.testing.assert_allclose(middle.features[0], halves, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "field", "said"),
    [
        ({"points": ((5, 5), (100, 20))}, "params.points[1]", r"at most \(99, 69\)"),
        (
            {"points": ((5, 69.00001),)},
            "params.points[0]",
            r"\(5, 69.00001\) is outside .* at most \(99, 69\)",
        ),
        ({"points": ((5, 30),), "center_crop": True}, "params.points[0]", "center_crop cuts off"),
        ({"region": (10, 10, 100.00001, 30)}, "params.region", r"\(100.00001, 30\), .* 100 x 70 pixels"),
        ({"region": (1, 10, 9, 30), "center_crop": True}, "params.region", "center_crop cuts off"),
        # To the right of 33 pixels the grid has 15 of padding, which are not those of this region.
        (
            {"region": (90, 10, 99, 30), "center_crop": True, "load_size": 33},
            "params.region",
            "center_crop cuts off",
        ),
    ],
)
def test_places_that_are_not_there_are_errors_of_their_field(
    engines: Engines, demo_clip: ClipModel, options: dict[str, object], field: str, said: str
) -> None:
    with pytest.raises(InvalidFields, match=said) as caught:
        clip(engines, demo_clip, **{"load_size": 64, **options})
    assert [each.field for each in caught.value.violations] == [field]


def test_the_answer_at_places_has_a_limit_of_its_own(demo_clip: ClipModel, demo_dino: DinoModel) -> None:
    three = models.engines(max_reply_bytes=3 * 128 * 4)
    points = tuple((float(each), 3.0) for each in range(4))
    assert clip(three, demo_clip, load_size=140, points=points[:3]).features.shape == (3, 128)
    with pytest.raises(ReplyTooLarge, match=r"2048 bytes, at most 1536: dtype float16.*or fewer points"):
        clip(three, demo_clip, load_size=140, points=points)
    assert clip(three, demo_clip, load_size=140, region=(1, 1, 24, 5)).features.shape == (1, 3, 128)
    # What they are taken from is in memory whole.
    held = models.engines(max_feature_bytes=5 * 8 * 128 * 4)
    assert dino(held, demo_dino, load_size=-1, points=points).features.shape == (4, 128)
    with pytest.raises(ReplyTooLarge, match="or bin false"):
        dino(held, demo_dino, load_size=-1, points=points, bin=True)


def test_of_thousands_of_bad_points_the_first_few_are_told(engines: Engines, demo_dino: DinoModel) -> None:
    points = ((1.0, 1.0), *((60.0, float(number)) for number in range(60_000)))
    params = DinoExtractFeaturesParams(points=points)
    with pytest.raises(InvalidFields) as caught:
        engines.prepare(EXTRACT_DINO.rpc, models.picture_item(60, 40), params, demo_dino)
    assert [each.field for each in caught.value.violations] == [
        f"params.points[{index}]" for index in range(1, 9)
    ]


@pytest.mark.parametrize(("patch", "other"), [(16, 14), (14, 16), (16, 8), (14, 14)])
def test_another_grid_over_the_same_pixels_is_torchs_interpolation(patch: int, other: int) -> None:
    maps = torch.randn(2, 112 // patch, 224 // patch, 3, generator=torch.Generator().manual_seed(0))
    size = (112 // other, 224 // other)
    got = regridded(maps, Grid.of_patches(patch), size, Grid.of_patches(other))
    wanted = F.interpolate(maps.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(got, wanted.permute(0, 2, 3, 1), rtol=0, atol=1e-5)


def test_cells_of_another_grid_that_ends_elsewhere_keep_their_places() -> None:
    columns = torch.arange(8.0).view(1, 1, 8, 1)  # of 16 pixels: centres at 8, 24, …
    got = regridded(columns, Grid.of_patches(16), (1, 4), Grid.of_patches(14)).flatten()
    np.testing.assert_allclose(got, [0, 13 / 16, 27 / 16, 41 / 16], atol=1e-6)
