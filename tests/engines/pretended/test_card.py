"""JPEG files that a GPU decodes: only kinds whose pixels are near the CPU's, and only files that are whole."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from featsvc.engines.decoding import card
from featsvc.engines.decoding.card import CardDecoder, trial
from featsvc.engines.decoding.headers import header
from featsvc.engines.decoding.pictures import decoded
from featsvc.v1 import schema as S
from featsvc.work.item import PictureItem
from tests.engines import models
from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.worker import DEVICE

OFF = 2
"""What a decoder adds to each pixel, to be seen: too much on the average for one that is tried."""
Install = Callable[..., CardDecoder]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes the decoder of a device whose pixels are off by so much, of files that are no sampling of `wrong`."""
    cuda = PretendCuda()
    with cuda.installed(), cuda.at_work():

        def make(off: int = 0, wrong: tuple[int, ...] = (), error: str = "") -> CardDecoder:
            def decode(file: Tensor, mode: Any, device: torch.device) -> Tensor:
                if error:
                    raise RuntimeError(error)
                content = bytes(file.numpy())
                pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)
                apart = 50 if card._sampling(content) in wrong else off
                made = torch.from_numpy((pixels + apart).clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
                return made.contiguous().to(device)

            monkeypatch.setattr(card, "decode_jpeg", decode)
            return CardDecoder(DEVICE)

        yield make


def file(subsampling: int = 0, mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG file."""
    picture = models.picture(60, 40).convert(mode)
    return models.encoded(picture, "JPEG", subsampling=subsampling, **options)


def stored(content: bytes) -> np.ndarray:
    """What the CPU makes of it."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("sampling", card.SAMPLINGS)
def test_a_file_of_a_kind_that_is_near_is_decoded_there(install: Install, sampling: int) -> None:
    found = install(0).pixels(header(file(sampling)))
    assert found is not None
    np.testing.assert_array_equal(np.asarray(found), stored(file(sampling)))


def test_a_kind_that_is_too_far_is_for_the_cpu(install: Install) -> None:
    decoder = install(wrong=(2,))
    assert decoder.pixels(header(file(0))) is not None
    assert decoder.pixels(header(file(2))) is None


def test_all_are_for_the_cpu_where_nothing_is_near_or_decoded(install: Install) -> None:
    for decoder in (install(off=10), install(error="nvjpeg is not there")):
        assert decoder.pixels(header(file())) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(file()[:-300], id="cut off"),
        pytest.param(file(progressive=True), id="in several scans"),
        pytest.param(file(mode="L"), id="grey"),
        pytest.param(file(mode="CMYK"), id="of four colours"),
        pytest.param(models.encoded(models.picture(60, 40)), id="another format"),
    ],
)
def test_other_files_are_for_the_cpu(install: Install, content: bytes) -> None:
    assert install().pixels(header(content)) is None


def test_a_file_that_there_is_no_memory_for_is_for_the_cpu(install: Install) -> None:
    decoder = install()
    install(error="CUDA out of memory")
    assert decoder.pixels(header(file())) is None


@pytest.mark.parametrize("orientation", [S.Orientation.SHOWN, S.Orientation.STORED])
def test_it_is_turned_as_the_file_says(install: Install, orientation: S.Orientation) -> None:
    decoder, exif = install(), Image.Exif()
    install(OFF)  # the first has it too from now on
    exif[0x0112] = 6
    item = PictureItem(file(exif=exif), orientation=orientation)
    plain = models.OPTIONS
    ours, theirs = (decoded(item, replace(plain, card=each)) for each in (decoder, None))
    assert ours.orientation == theirs.orientation == 6
    values = np.asarray(theirs.pixels, np.int16)
    np.testing.assert_array_equal(np.asarray(ours.pixels), (values + OFF).clip(0, 255))


def test_only_a_worker_that_is_told_to_decodes_there(install: Install) -> None:
    install(OFF)
    for told in (False, True):
        engines = models.engines(device=DEVICE, jpeg_on_gpu=told)
        assert (engines.options.card is not None) is told
    assert models.engines(jpeg_on_gpu=True).options.card is None


def test_the_trial_picture_tells_how_colours_are_brought_to_full_size() -> None:
    buffer = io.BytesIO()
    Image.fromarray(trial()).save(buffer, "JPEG", quality=card.QUALITY, subsampling=2)
    with Image.open(buffer) as picture:
        picture.draft("YCbCr", picture.size)
        _, blue, red = picture.split()
        smooth = np.asarray(picture.convert("RGB"), np.int16)
        half = (picture.width // 2, picture.height // 2)
        coarse = [each.resize(half, Image.Resampling.BOX).resize(picture.size, 0) for each in (blue, red)]
        blocks = np.asarray(Image.merge("YCbCr", (picture.split()[0], *coarse)).convert("RGB"), np.int16)
    assert np.abs(smooth - blocks).max() > card.MOST_APART
