"""Pictures go to a GPU as bytes, from pinned memory, and are there what a CPU makes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torchvision.transforms.functional import pil_to_tensor

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.pyramids import PreparedPyramid
from featsvc.engines.geometry.sizing import Fit, Grid, fitted, network_input, padded
from featsvc.engines.running import whole
from featsvc.engines.running.colours import Normal, normalised
from featsvc.engines.running.pinned_room import PinnedRoom
from featsvc.engines.running.transfer import STAGED_BYTES, on_device
from featsvc.engines.sam2.embedding import encoder_input, seen
from featsvc.engines.sam2.embedding import sent as given_of
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.view import RequestPicture
from featsvc.v1 import schema as S
from featsvc.v1.schema import PaddingMode
from tests.engines import models
from tests.engines.pretended.cases import asked
from tests.engines.pretended.numbers import difference, numbers
from tests.engines.pretended.worker import DEVICE, PretendedWorker

NORMAL = Normal((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
GRID = Grid(14, 14)
BOUND = 1e-6
"""A GPU multiplies by a rounded 1 / 255."""


@pytest.mark.parametrize("mode", list(PaddingMode))
@pytest.mark.parametrize("size", [(75, 50), (84, 56), (84, 50), (75, 56)])
def test_bytes_become_on_the_device_what_the_cpu_makes_of_them(
    worker: PretendedWorker, mode: PaddingMode, size: tuple[int, int]
) -> None:
    picture, fit = models.picture(*size), Fit(min(size), False, mode)
    there = torch.device(DEVICE)
    with worker.at_work():
        sent = network_input(picture, fit, GRID, NORMAL, there)
        assert sent.pixels.dtype is torch.uint8
        assert sent.pixels.is_pinned()
        made = normalised(sent.on(there)[None], NORMAL, [sent.blank])
        assert made.device == there
        (here,) = made.cpu()
    torch.testing.assert_close(here, network_input(picture, fit, GRID, NORMAL).pixels, rtol=0, atol=BOUND)
    assert tuple(here.shape) == sent.shape


@pytest.mark.parametrize("mode", list(PaddingMode))
@pytest.mark.parametrize("center_crop", [False, True])
@pytest.mark.parametrize(("width", "height"), [(90, 61), (63, 140)])
def test_a_picture_is_brought_to_size_there_with_the_cpus_bytes(
    worker: PretendedWorker, mode: PaddingMode, center_crop: bool, width: int, height: int
) -> None:
    picture, fit, there = models.picture(width, height), Fit(50, center_crop, mode), torch.device(DEVICE)
    with worker.at_work():
        sent = network_input(picture, fit, GRID, NORMAL, there)
        assert sent.pixels.shape == (3, height, width)
        (here,) = sent.on(there)[None].cpu()
    resized = pil_to_tensor(fitted(picture, fit))
    plain = padded(resized, sent.geometry.pad_right, sent.geometry.pad_bottom, mode)
    torch.testing.assert_close(here, plain, rtol=0, atol=0)


@pytest.mark.parametrize("size", [(2048, 40), (40, 31)])
def test_a_picture_that_cannot_be_resized_there_is_sent_at_its_size(
    worker: PretendedWorker, size: tuple[int, int]
) -> None:
    picture, fit = models.picture(*size), Fit(2 if size[0] > 2000 else 31, False, PaddingMode.CONSTANT)
    with worker.at_work():
        sent = network_input(picture, fit, GRID, NORMAL, torch.device(DEVICE))
    assert sent.fit is None
    assert tuple(sent.pixels.shape) == sent.shape


@pytest.mark.parametrize("size", [(75, 50), (300, 200), (64, 64), (64, 2049)])
def test_sam2s_square_is_the_cpus(worker: PretendedWorker, size: tuple[int, int]) -> None:
    picture, side, there = models.picture(*size), 64, torch.device(DEVICE)
    with worker.at_work():
        given = given_of(picture, side, there)
        assert (given.dtype is torch.uint8) == (max(size) <= 2048)
        made = seen(on_device(given, there), side)
        assert made.device == there
        (here,) = made.cpu()
    torch.testing.assert_close(here, encoder_input(picture, side), rtol=0, atol=10 * BOUND)


def test_a_picture_is_fitted_for_its_embedding_as_on_the_cpu(
    worker: PretendedWorker, demo_clip: ClipModel
) -> None:
    picture, loaded = models.picture(75, 50), worker.loaded["clip"]
    assert isinstance(loaded, ClipModel)
    with worker.at_work():
        sent = loaded.eval_seen(picture)
        assert sent.pixels.shape == (3, 50, 75)
        made = normalised(sent.on(loaded.device)[None], loaded.normal, [(0, 0)])
        (here,) = made.cpu()
    torch.testing.assert_close(here, demo_clip.eval_input(picture), rtol=0, atol=BOUND)


@pytest.mark.parametrize("family", ["clip", "dino", "sam2"])
def test_pictures_that_wait_have_their_room_and_others_the_size_of_the_network(
    worker: PretendedWorker, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, there = models.picture(90, 61), torch.device(DEVICE)
    fit = Fit(50, False, PaddingMode.CONSTANT)
    loaded, sam2 = worker.loaded["clip"], worker.loaded["sam2"]
    assert isinstance(loaded, ClipModel)
    assert isinstance(sam2, Sam2Model)
    item, cache = models.picture_item(90, 61), worker.engines.kept[0]
    prepared: dict[str, Callable[[], torch.Tensor]] = {
        "clip": lambda: loaded.eval_seen(picture).pixels,
        "dino": lambda: network_input(picture, fit, GRID, NORMAL, there).pixels,
        "sam2": lambda: RequestPicture(cache, item, sam2, worker.engines.options).whole().pixels(),
    }
    # One takes 2^15 bytes.
    monkeypatch.setattr(whole, "ROOM", PinnedRoom(3 << 14))
    with worker.at_work():
        first, second = prepared[family](), prepared[family]()
        assert first.shape == (3, 61, 90)
        assert second.shape != first.shape
        del first
        assert prepared[family]().shape == (3, 61, 90)


def test_a_pyramids_picture_without_room_goes_there_with_its_pass(
    worker: PretendedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = S.EmbedPyramidParams(tile_levels=1, tile_ratio_min=0.5, tile_ratio_max=0.5)
    case = asked(params, image=models.encoded(models.picture(90, 61)), digest="")
    plain = numbers(*worker.answers(case))
    monkeypatch.setattr(whole, "ROOM", PinnedRoom(1 << 15))
    with worker.at_work():
        engines, loaded, operation = worker.engines, worker.loaded["clip"], case.operation.rpc
        first, second = (engines.prepare(operation, case.items[0], case.params, loaded) for _ in range(2))
        assert isinstance(first, PreparedPyramid)
        assert isinstance(second, PreparedPyramid)
        assert [each.picture is not None and each.picture.is_pinned() for each in (first, second)] == [
            True,
            False,
        ]
        (made,) = engines.run(operation, [second], case.params, loaded)
    assert difference(numbers(made), plain) <= BOUND


def test_a_large_picture_waits_for_none_before_it(worker: PretendedWorker) -> None:
    pictures = [models.encoded(models.picture(300, 200, seed)) for seed in range(2)]
    worker.answers(asked(S.EmbedImageParams(), image=pictures[0], digest="sha256:one"))
    worker.answers(asked(S.EmbedImageParams(), image=pictures[1], digest="sha256:other"))
    assert worker.cuda.waits.total() == 1, "for its own pass"
    assert worker.cuda.uploads.total() == 1
    assert STAGED_BYTES < 300 * 200 * 3
    worker.answers(asked(S.DinoExtractFeaturesParams(load_size=200), image=pictures[0]))
    assert worker.cuda.waits.total() == 1
